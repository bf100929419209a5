"""The real engine behind the worker: warm models, previews, and answers that fit the protocol."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import GRID, write_packs
from vcm.core.errors import Code, VcmError
from vcm.core.findings import Level
from vcm.core.volume import Volume
from vcm.protocol import (
    Cancel,
    Cancelled,
    ConditionInput,
    Examine,
    Found,
    Garbage,
    Generate,
    Generated,
    Hello,
    ListPacks,
    Packs,
    Preflight,
    Preview,
    Progress,
    Ready,
    Said,
    Segment,
    Shutdown,
    Warm,
    decode,
    encode,
)
from vcm.volumes.volume_files import read_volume, read_volume_file, write_volume
from vcm.worker.contract import Call
from vcm.worker.engine import LocalEngine
from worker_client import WorkerClient


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packs")
    write_packs(folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "manifest.json").write_text("{")
    return folder


@pytest.fixture
def engine(packs, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(packs))
    engine = LocalEngine()
    engine.start()
    return engine


@pytest.fixture
def mask(tmp_path):
    array = np.zeros(GRID.shape, np.uint8)
    array[5:9, 8:15, 12:17] = 7
    array[2, 3, 4] = 5
    write_volume(tmp_path / "größe.nii.gz", Volume(array, GRID))
    return ConditionInput("ventricles", str(tmp_path / "größe.nii.gz"), 7)


class Listener(Call):
    """Keeps what is sent, as a client would read it, and asks to end after some number of progress reports."""

    def __init__(self, end_after=10**9):
        self.sent = []
        self.end_after = end_after
        super().__init__("a", lambda message: self.sent.append(decode(encode(message))), self._enough)

    def _enough(self):
        return len(self.of(Progress)) >= self.end_after

    def of(self, kind):
        return [message for message in self.sent if isinstance(message, kind)]

    def loaded(self):
        return [said.words for said in self.of(Said) if said.words.startswith("Loading")]


def request(tmp_path, mask=None, **options):
    conditions = (mask,) if mask else ()
    return Generate("a", str(tmp_path / "out"), conditions, pack="tiny", steps=3, seed=5, **options)


def test_a_generate_leaves_its_files_and_answers_with_them(engine, mask, tmp_path):
    call = Listener()
    ending = engine.generate(request(tmp_path, mask, uncontrolled=True, samples=2), call)
    assert decode(encode(ending)) == ending
    assert [sample.seed for sample in ending.samples] == [5, 6]
    for sample in ending.samples:
        assert read_volume(sample.path).grid.same_as(GRID, 0.01)
        assert read_volume(sample.uncontrolled_path).array.std() > 0
        (score,) = sample.alignment.classes
        assert (score.condition, score.dice) == ("ventricles", None) and score.remark
        assert score.requested_ml == pytest.approx(140 * 0.064)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert ending.report_path == str(tmp_path / "out" / "report.json") and report["complete"]
    assert (tmp_path / "out" / "montage.png").samefile(ending.montage_path)
    (given,) = ending.conditions
    assert given.name == "ventricles" and given.labels[0].segmenter == (2,)
    assert int(read_volume(given.path).array.sum()) == 140, "the mask as the model was given it"


def test_progress_grows_to_the_whole_and_findings_come_first(engine, mask, tmp_path):
    call = Listener()
    engine.generate(request(tmp_path, mask), call)
    steps = [at for at in call.of(Progress) if at.stage != "loading"]
    assert [at.fraction for at in steps] == sorted(at.fraction for at in steps)
    assert steps[-1].fraction == 1.0 and (steps[0].step, steps[0].total) == (1, 3)
    assert all(call.sent.index(found) < call.sent.index(steps[0]) for found in call.of(Found))


def test_the_second_generate_finds_the_models_warm_and_gives_the_same_image(engine, mask, tmp_path):
    first, second = Listener(), Listener()
    image = read_volume(engine.generate(request(tmp_path, mask), first).samples[0].path).array
    again = read_volume(engine.generate(request(tmp_path, mask), second).samples[0].path).array
    assert first.loaded() == ["Loading tiny.", "Loading tiny-both."]
    assert second.loaded() == [] and "loading" not in [at.stage for at in second.of(Progress)]
    assert np.array_equal(image, again)


def test_another_control_leaves_the_backbone_warm(engine, mask, tmp_path):
    engine.generate(request(tmp_path), Listener())
    call = Listener()
    engine.generate(request(tmp_path, mask), call)
    assert call.loaded() == ["Loading tiny-both."]


def test_another_precision_another_manifest_or_a_release_load_again(engine, packs):
    def loaded(precision="fp32"):
        call = Listener()
        engine.warm(Warm("w", "tiny", precision=precision), call)
        return call.loaded()

    assert loaded() and not loaded()
    assert loaded("bf16") and not loaded("bf16")
    assert loaded() and not loaded()
    with (packs / "tiny" / "manifest.json").open("a") as manifest:
        manifest.write("\n")
    assert loaded() and not loaded()
    engine.release()
    assert loaded() and not loaded()


def test_a_mask_that_was_changed_since_the_last_generate_is_examined_anew(engine, mask, tmp_path):
    def given(**options):
        ending = engine.generate(request(tmp_path, mask, **options), Listener())
        return int(read_volume(ending.conditions[0].path).array.sum())

    assert given() == 140 == given()
    path, before = Path(mask.path), Path(mask.path).stat()
    array = read_volume(path).array.copy()
    array[5] = 0  # a quarter of the structure
    write_volume(path, Volume(array, GRID))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert given() == 105
    weak = ConditionInput("ventricles", mask.path, 7, strength=0.5, start=0.1)
    ending = engine.generate(request(tmp_path, weak), Listener())
    (said,) = json.loads(Path(ending.report_path).read_text())["conditions"]
    assert (said["strength"], said["window"]) == (0.5, [0.1, 1.0])
    other = ConditionInput("ventricles", mask.path, 5)
    assert int(read_volume(engine.generate(request(tmp_path, other), Listener()).conditions[0].path).array.sum()) == 1


def test_warming_loads_what_the_generate_after_it_needs(engine, mask, tmp_path):
    ending = engine.warm(Warm("w", "tiny", "tiny-both"), Listener())
    assert "fp32" in ending.words or "fp16" in ending.words
    call = Listener()
    engine.generate(request(tmp_path, mask), call)
    assert call.loaded() == []


def test_previews_are_written_before_they_are_announced(engine, mask, tmp_path):
    seen = []
    call = Listener()
    call.preview = lambda path, sample, step: seen.append((read_volume(path).grid.same_as(GRID, 0.01), sample, step))
    engine.generate(request(tmp_path, mask, preview_every=1, preview_dir=str(tmp_path / "forming" / "脳")), call)
    assert seen == [(True, 0, 1), (True, 0, 2)]


def test_a_cancel_between_steps_leaves_nothing_half_written(engine, tmp_path):
    engine.warm(Warm("w", "tiny"), Listener())
    with pytest.raises(VcmError) as caught:
        engine.generate(request(tmp_path), Listener(end_after=2))
    assert caught.value.code is Code.CANCELLED
    assert list((tmp_path / "out").glob("*")) == []


def test_a_cancel_while_loading_is_noticed_before_sampling(engine, tmp_path):
    call = Listener(end_after=1)
    with pytest.raises(VcmError) as caught:
        engine.generate(request(tmp_path), call)
    assert caught.value.code is Code.CANCELLED
    assert [at.stage for at in call.of(Progress)] == ["loading"]


def test_an_examination_shows_what_the_model_sees(engine, mask, tmp_path):
    ending = engine.examine(Examine("e", (mask,), "tiny", prepared_dir=str(tmp_path / "seen")), Listener())
    (prepared,) = ending.prepared
    seen = read_volume(prepared.path)
    assert set(np.unique(seen.array)) == {0, 1} and int(seen.array.sum()) == 140
    assert seen.grid.same_as(GRID, 0.01)


def test_an_examination_of_an_empty_mask_is_answered_with_the_error_and_shows_nothing(engine, tmp_path):
    write_volume(tmp_path / "blank.nii.gz", Volume(np.zeros(GRID.shape, np.uint8), GRID))
    blank = ConditionInput("ventricles", str(tmp_path / "blank.nii.gz"))
    ending = engine.examine(Examine("e", (blank,), "tiny", prepared_dir=str(tmp_path)), Listener())
    assert Level.ERROR in {finding.level for finding in ending.findings}
    assert ending.prepared == ()


def test_a_missing_file_is_told_by_name(engine, tmp_path):
    gone = ConditionInput("ventricles", str(tmp_path / "gone.nii.gz"))
    with pytest.raises(VcmError, match=r"gone\.nii\.gz") as caught:
        engine.generate(request(tmp_path, gone), Listener())
    assert caught.value.code is Code.FILE_MISSING


def test_a_t1w_image_is_segmented_on_the_grid_of_the_backbone(engine, tmp_path):
    rng = np.random.default_rng(3)
    from vcm.packs.store import default_backbone, find_pack

    grid = find_pack(default_backbone()).backbone.grid
    i, j, k = np.indices(grid.shape)
    head = ((i - 38) / 30) ** 2 + ((j - 60) / 42) ** 2 + ((k - 44) / 30) ** 2 < 1
    image = np.where(head, 300 + 60 * rng.standard_normal(grid.shape), 0).clip(0).astype(np.float32)
    write_volume(tmp_path / "t1.nii.gz", Volume(image, grid))
    ending = engine.segment(Segment("s", str(tmp_path / "t1.nii.gz"), str(tmp_path / "labels.nrrd")), Listener())
    labels = read_volume(ending.path)
    assert labels.grid.same_as(grid, 0.01)
    for structure in ending.structures:
        assert structure.ml == pytest.approx((labels.array == structure.value).sum() * 0.008)
    assert sum(structure.ml for structure in ending.structures) > 0


def test_what_lies_where_no_head_has_it_is_left_out_of_a_scans_segmentation(engine, tmp_path, monkeypatch):
    from vcm.judging import reference_head
    from vcm.judging.segmentation import PackSegmenter
    from vcm.packs.store import default_backbone, find_pack
    from vcm.runs import run

    grid = find_pack(default_backbone()).backbone.grid
    typical, found = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.uint8)
    typical[30:50, 40:70, 30:50], typical[38:42, 50:60, 38:42] = 1, 4
    found[28:50, 40:70, 30:50], found[36:42, 50:60, 38:42], found[70:74, 20:90, 70:73] = 1, 4, 4
    head = reference_head.Template(Volume(typical.astype(np.float32), grid), Volume(typical, grid), "a head")
    monkeypatch.setattr(run, "reference_of", lambda pack: None)
    monkeypatch.setattr(reference_head, "template_of", lambda pack, file=None: head)
    monkeypatch.setattr(PackSegmenter, "segment", lambda self, image: Volume(found, grid))
    scan = 300 * np.random.default_rng(0).random(grid.shape, np.float32)
    write_volume(tmp_path / "t1.nii.gz", Volume(scan, grid))
    ending = engine.segment(Segment("s", str(tmp_path / "t1.nii.gz"), str(tmp_path / "labels.nii.gz")), Listener())
    assert np.array_equal(
        read_volume(ending.path).array == 4, (found == 4) & (np.arange(grid.shape[0])[:, None, None] < 60)
    )
    (ventricles,) = (structure for structure in ending.structures if structure.value == 4)
    assert ventricles.ml == pytest.approx(6 * 10 * 4 * 0.008)
    assert read_volume_file(ending.path).segment_names == {each.value: each.name for each in ending.structures}


def test_a_pack_without_a_segmenter_says_so(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    write_volume(tmp_path / "t1.nii.gz", Volume(np.random.default_rng(0).random(GRID.shape, np.float32), GRID))
    with pytest.raises(VcmError, match="tiny has no segmenter"):
        engine.segment(Segment("s", str(tmp_path / "t1.nii.gz"), str(tmp_path / "labels.nii"), "tiny"), Listener())


def test_the_packs_are_told_with_their_state(engine, packs):
    ending = engine.list_packs(ListPacks("l"), Listener())
    assert decode(encode(ending)) == ending and ending.folder == str(packs)
    entries = {entry.name: entry for entry in ending.packs}
    assert entries["tiny-both"].state == "ready" and entries["tiny-both"].kind == "control"
    assert [entry["name"] for entry in entries["tiny-both"].manifest["conditions"]] == ["ventricles", "skull"]
    assert entries["broken"].state == "broken" and "manifest.json" in entries["broken"].words
    assert entries["brainldm-mini"].state == "ready"
    assert entries["brainldm"].state == "available" and "GB" in entries["brainldm"].words


def test_the_machine_is_told_with_the_disk_of_a_folder_still_to_be_made(engine, tmp_path):
    ending = engine.preflight(Preflight("p", str(tmp_path / "not" / "yet")), Listener())
    assert decode(encode(ending)) == ending
    assert ending.devices[-1].name == "cpu" and ending.devices[0].words
    assert 0 < ending.free_memory_bytes <= ending.memory_bytes
    assert ending.free_disk_bytes > 0
    assert {"vcm", "python", "torch", "SimpleITK"} <= set(ending.versions)


def test_the_worker_as_users_start_it_generates_cancels_and_ends(packs, mask, tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(packs))
    client = WorkerClient(command=(sys.executable, "-m", "vcm.worker"))
    try:
        assert isinstance(client.next(), Hello)
        client.send(request(tmp_path, mask, preview_every=2, preview_dir=str(tmp_path)))
        ending, before = client.until(Generated)
        assert ending.samples[0].path == str(tmp_path / "out" / "sample-0.nii.gz")
        assert {Ready, Progress, Preview, Said} <= {type(item) for item in before}
        client.send(Generate("b", str(tmp_path / "b"), pack="tiny", steps=900))
        client.get(Progress, "b")
        client.send(Cancel("b"))
        assert client.get(Cancelled, "b")
        client.send(encode(ListPacks("c")) + encode(Shutdown()))
        rest = client.rest()
        assert not [item for item in [*before, *rest] if isinstance(item, Garbage)]
        assert any(isinstance(item, (Packs, Cancelled)) and item.id == "c" for item in rest)
        assert client.exit_code() == 0
    finally:
        client.close()
