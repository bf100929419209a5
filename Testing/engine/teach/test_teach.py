"""`vcm teach`: one command from cases to a pack and a report, which can be stopped and refuses in sentences."""

import json
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from command_line import Apart, RoomFor, vcm, vcm_apart
from faults import told
from maisi_files import CONFIG, write_files
from small_cohort import write_cohort, write_workshop
from tiny_controls import KINDS
from vcm.cohort.files import write_table
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.packs.importing import import_family
from vcm.packs.store import find_pack
from vcm.teach.report import verdict
from vcm.teach.results import HeldOutResult, MeasureRow
from vcm.training.data.latent_cache import LatentCache
from vcm.training.trainer.checkpoint import CHECKPOINT, load_checkpoint
from vcm.volumes.volume_files import read_volume, write_volume

USUAL = ("--backbone", "tiny", "--device", "cpu")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Packs with a segmenter, and a cohort of eight heads."""
    folder = tmp_path_factory.mktemp("workshop")
    write_workshop(folder)
    return folder


@pytest.fixture
def cohort(workshop, tmp_path, monkeypatch):
    """A copy of the cohort; the packs are a copy too."""
    shutil.copytree(workshop / "packs", tmp_path / "packs")
    shutil.copytree(workshop / "cohort", tmp_path / "cohort")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "cohort"


def teach(cohort, *more, name="mine", steps=4):
    return vcm("teach", cohort, "--name", name, "--steps", steps, "--batch", 2, *USUAL, *more)


def words(ended):
    return ended.err + ended.out


def labels_of(cohort, number):
    return cohort / "cases" / f"{number:05d}" / "labels.nii.gz"


def relabel(cohort, number, change):
    volume = read_volume(labels_of(cohort, number))
    write_volume(labels_of(cohort, number), Volume(change(np.array(volume.array, np.uint8)), volume.grid))


def test_one_command_makes_a_pack_that_is_listed_and_generates(cohort, tmp_path):
    ended = teach(cohort)
    assert ended.code == 0, words(ended)
    assert "8 of 8 cases can be used" in ended.err and "It will take about" in ended.err
    assert "mine" in vcm("packs", "list").out
    assert vcm("packs", "verify", "mine").code == 0
    mask = tmp_path / "mask.nii.gz"
    labels = read_volume(labels_of(cohort, 3))
    write_volume(mask, Volume((np.asarray(labels.array) == 4).astype(np.uint8), labels.grid))
    made = vcm("generate", "--pack", "tiny", "--control", "mine", "--condition", f"ventricles={mask}",
               "--steps", 2, "--device", "cpu", "--out", tmp_path / "made")  # fmt: skip
    assert made.code == 0, made.err
    card = (tmp_path / "packs" / "mine" / "README.md").read_text()
    assert "held-out cases" in card and "same noise without it" in card


def test_the_report_needs_no_other_file_and_says_synthetic(cohort, tmp_path):
    assert teach(cohort, "--structure", "<b>", "--out", tmp_path).code == 2
    assert teach(cohort).code == 0
    page = (tmp_path / "packs" / "mine" / "report.html").read_text("utf-8")
    assert "Synthetic, research only" in page
    sources = re.findall(r"src='([^']{0,30})", page)
    assert len(sources) >= 2 + 4 and all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link|url\(", page)
    assert "@page" in page and page.count("alt=") == len(sources)
    assert "reconstruction" in page and "95 % confidence interval" in page
    split = json.loads((cohort / "teaching" / "mine" / "teaching.json").read_text())["split"]
    assert f"of {len(split['heads'])} heads it never saw" in page
    assert not any(head in page for head in split["heads"])


def test_held_out_heads_are_never_learned_from(cohort, monkeypatch):
    heads = {f"{n:05d}": f"sub-{n // 2:02d}_ses-{n % 2}" for n in range(8)}
    table = cohort / "cases.csv"
    for name, head in heads.items():
        table.write_text(re.sub(f"^{name},[^,]*,", f"{name},{head},", table.read_text(), flags=re.M))
    learned = set()
    whole = LatentCache.__init__

    def watch(self, folder, cases, *more):
        learned.update(case.name for case in cases)
        whole(self, folder, cases, *more)

    monkeypatch.setattr(LatentCache, "__init__", watch)
    assert teach(cohort).code == 0
    split = json.loads((cohort / "teaching" / "mine" / "teaching.json").read_text())["split"]
    assert set(split["learned"]) == learned and split["held_out"]
    subjects = {heads[name].split("_")[0] for name in split["held_out"]}
    assert not subjects & {heads[name].split("_")[0] for name in learned}


def test_a_new_structure_is_made_from_label_values_and_can_be_judged(cohort, tmp_path):
    for number in range(8):
        relabel(cohort, number, lambda a: np.where((a == 1) & (np.indices(a.shape)[2] > 22), 5, a))
    ended = teach(cohort, "--structure", "hippocampus=5", name="hippo")
    assert ended.code == 0, words(ended)
    (spec,) = find_pack("hippo").control.conditions
    assert (spec.name, spec.kind.value, spec.classes[0].segmenter) == ("hippocampus", "mask", (5,))
    low, high = spec.classes[0].typical_ml
    expected = (np.asarray(read_volume(labels_of(cohort, 0)).array) == 5).sum() * tiny.GRID.voxel_ml
    assert low - 0.1 <= expected <= high + 0.1
    other = teach(cohort, "--structure", "hippocampus=1", name="hippo2")
    assert other.code == 0, words(other)
    assert find_pack("hippo2").control.conditions[0].classes[0].typical_ml[0] > high


def test_values_that_the_segmenter_does_not_know_are_refused(cohort):
    ended = teach(cohort, "--structure", "pallidum=13")
    assert ended.code == 2 and "label 13" in ended.err and "5 hippocampus" in ended.err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--condition", "tumours"], "have no condition tumours"),
        (["--structure", "brain=1"], "Choose another name"),
        (["--structure", "x=0"], "does not name a structure"),
        (["--structure", "x"], "does not name a structure"),
        (["--condition", "brain", "--condition", "brain"], "named twice"),
    ],
)
def test_what_cannot_be_taught_is_refused(cohort, more, sentence):
    ended = teach(cohort, *more)
    assert ended.code == 2 and sentence in ended.err
    assert not (cohort / "teaching").exists()


@pytest.mark.parametrize("name", ["tiny", "brainldm-mini", "Mine!"])
def test_a_name_that_is_taken_or_none_is_refused_before_any_work(cohort, name):
    ended = teach(cohort, name=name)
    assert ended.code == 2 and name in ended.err
    assert "checking the cases" not in ended.err


def test_bad_cases_are_left_out_with_their_reason_and_stand_in_the_report(cohort, tmp_path):
    """The report is given away with the pack: it counts the reasons and names no case."""
    relabel(cohort, 0, lambda a: np.where(a == 4, 1, a))
    (cohort / "cases" / "00001" / "image.nii.gz").write_bytes(b"no image")
    wrong = Grid(tiny.GRID.shape, np.diag([-1, 1, 1, 1]) @ tiny.GRID.affine)
    volume = read_volume(labels_of(cohort, 2))
    write_volume(labels_of(cohort, 2), Volume(volume.array, wrong))
    shutil.copy(cohort / "cases" / "00003" / "image.nii.gz", cohort / "cases" / "00004" / "image.nii.gz")
    ended = teach(cohort)
    assert ended.code == 0, words(ended)
    page = (tmp_path / "packs" / "mine" / "report.html").read_text("utf-8")
    for number, reason in ((0, "no ventricles"), (1, "image.nii.gz"), (2, "lies on a grid"), (4, "that of case 00003")):
        assert f"Case {number:05d} is left out" in ended.err and reason in ended.err
    assert "4 of 8 cases can be used" in ended.err
    assert "4 of 8 cases were used" in page and page.count("1 left out: ") == 4
    assert "left out: the image of another case" in page
    assert "Case 0000" not in page


def test_too_few_usable_cases_are_refused_with_the_reasons(cohort):
    for number in range(5):
        relabel(cohort, number, lambda a: np.where(a == 4, 1, a))
    ended = teach(cohort)
    assert ended.code == 2
    assert "Only 3 of them can be used" in ended.err and "no ventricles" in ended.err
    for number in range(5):
        assert f"Case {number:05d}" in ended.err


def test_cases_on_another_grid_are_refused_in_one_sentence(cohort):
    ended = vcm("teach", cohort, "--name", "mine", "--device", "cpu")
    assert ended.code == 1 and "None of them can be used, for the same reason" in ended.err
    assert "lies on a grid of (16, 24, 32) voxels" in ended.err


def test_cases_of_one_head_cannot_be_held_out(cohort):
    table = cohort / "cases.csv"
    table.write_text(re.sub(r"head_\d\d", "head_01", table.read_text()))
    ended = teach(cohort)
    assert ended.code == 2 and "nothing can be held out" in ended.err


def test_a_folder_without_cases_is_told(cohort, tmp_path):
    ended = teach(tmp_path / "nowhere")
    assert ended.code == 1 and "cases.csv" in ended.err


def test_a_full_disk_is_told_before_anything_is_learned(cohort, monkeypatch):
    usage = shutil.disk_usage(cohort)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1_000_000))
    ended = teach(cohort)
    assert ended.code == 1 and "1 MB left" in ended.err and "--work" in ended.err
    assert not (cohort / "teaching" / "mine" / CHECKPOINT).exists()


def test_a_disk_that_is_full_before_the_latents_are_there_is_told_and_the_same_command_goes_on(cohort, tmp_path):
    command = ("teach", cohort, "--name", "mine", "--steps", 4, "--batch", 2, *USUAL)
    told(vcm_apart(tmp_path, *command, hardship=RoomFor(6000)), "disk is full", ".safetensors")
    assert "mine" not in vcm("packs", "list").out
    again = teach(cohort)
    assert again.code == 0 and find_pack("mine").control.conditions, words(again)


def test_a_disk_that_fills_up_while_it_learns_costs_no_checkpoint(cohort, tmp_path):
    teach(cohort, "--minutes", 0, steps=6)
    checkpoint = cohort / "teaching" / "mine" / CHECKPOINT
    before = checkpoint.read_bytes()
    command = ("teach", cohort, "--name", "mine", "--steps", 6, "--batch", 2, *USUAL)
    ended = vcm_apart(tmp_path, *command, hardship=RoomFor(len(before) - 1))
    told(ended, "could not be written", "disk is full")
    assert checkpoint.read_bytes() == before and "mine" not in vcm("packs", "list").out
    again = teach(cohort, steps=6)
    assert again.code == 0 and "resuming from step" in again.err and find_pack("mine").control.conditions


def test_the_plan_teaches_nothing(cohort):
    ended = teach(cohort, "--plan")
    assert ended.code == 0 and "Nothing was taught" in ended.out and "It will take about" in ended.err
    assert not (cohort / "teaching").exists()


def test_time_that_is_used_up_pauses_and_the_same_command_goes_on(cohort):
    first = teach(cohort, "--minutes", 0)
    assert first.code == 0 and "run the same command to go on" in first.out
    assert "mine" not in vcm("packs", "list").out
    again = teach(cohort, "--json")
    assert again.json["state"] == "finished" and Path(again.json["report"]).is_file()
    control = find_pack("mine").manifest.files["control"].sha256
    once_more = teach(cohort)
    assert once_more.code == 0 and "checking the cases" not in once_more.err
    assert find_pack("mine").manifest.files["control"].sha256 == control


def test_other_cases_than_it_began_with_are_refused(cohort):
    teach(cohort, "--minutes", 0)
    table = cohort / "cases.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    ended = teach(cohort)
    assert ended.code == 2 and "00007 can no longer be used" in ended.err


def test_another_condition_under_the_same_name_is_refused(cohort):
    teach(cohort, "--minutes", 0)
    ended = teach(cohort, "--condition", "brain")
    assert ended.code == 2 and "started with other conditions" in ended.err


def test_what_was_made_for_another_request_is_not_handed_out_for_this_one(cohort, tmp_path):
    assert teach(cohort).code == 0
    card = tmp_path / "packs" / "mine" / "README.md"
    assert teach(cohort).code == 0, "the same again is there already"
    for more in (("--condition", "brain"), ("--licence", "CC0-1.0"), ("--plan",)):
        ended = teach(cohort, *more)
        assert ended.code == 2 and "There is a pack mine already" in ended.err, words(ended)
    forced = teach(cohort, "--licence", "CC0-1.0", "--force")
    assert forced.code == 0 and "CC0-1.0" in card.read_text(), words(forced)
    assert "started with other conditions" in teach(cohort, "--condition", "brain", "--force").err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_was_learned_before_it_was_stopped_is_kept(cohort, tmp_path, number):
    process = Apart(tmp_path, "teach", cohort, "--name", "mine", "--steps", 100_000, "--batch", 2, *USUAL)
    checkpoint = cohort / "teaching" / "mine" / CHECKPOINT
    until = time.monotonic() + 90
    while not checkpoint.is_file() and process.alive and time.monotonic() < until:
        time.sleep(0.05)
    assert checkpoint.is_file(), process.wait(1)
    process.send(number)
    ended = process.wait()
    assert ended.code == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert number == signal.SIGKILL or "Run the same command to resume" in ended.err
    reached = load_checkpoint(checkpoint)["step"]
    assert 0 < reached < 100_000
    again = teach(cohort, steps=reached + 2)
    assert again.code == 0 and f"resuming from step {reached}" in again.err, words(again)
    assert find_pack("mine").control.conditions


def results(cases, asked=10.0, got=11.0):
    return [HeldOutResult(f"c{n}", f"h{n}", {}, {"v": asked}, {"v": got}, {}) for n in range(cases)]


@pytest.mark.parametrize(
    ("gain", "cases", "begins", "says"),
    [
        ((-0.01, -0.02, 0.0), 9, "The samples do not follow", "0.25 without it"),
        ((0.0001, -0.014, 0.0142), 2, "The samples do not follow", "0.25 without it"),
        ((0.01, 0.002, 0.018), 9, "The samples do not follow", "3% of the way"),
        ((0.01, 0.009, 0.011), 2, "The samples do not follow", "3% of the way"),
        ((0.07, 0.01, 0.13), 9, "The samples follow the condition weakly at most", "The gain is 0.07 (0.01–0.13)"),
        ((0.2, 0.01, 0.4), 9, "The samples follow the condition weakly at most", "57% of the way"),
        ((0.2, 0.15, 0.25), 9, "The samples follow the condition: ", "57% of the way"),
        ((0.2, 0.15, 0.25), 4, "The samples may follow", "4 held-out cases are too few to judge"),
        ((0.2, 0.2, 0.2), 1, "The samples may follow", "1 held-out case is too few to judge"),
    ],
)
def test_the_report_claims_by_effect_size_and_number_of_cases(gain, cases, begins, says):
    means = {"controlled": (0.25 + gain[0],) * 3, "uncontrolled": (0.25,) * 3, "reconstructed": (0.6,) * 3}
    sentence = verdict(MeasureRow("Dice", True, means, gain), results(cases))
    assert sentence.startswith(begins) and says in sentence
    assert "volumes" not in sentence


def test_the_report_says_that_volumes_are_doubled():
    means = {"controlled": (0.5,) * 3, "uncontrolled": (0.25,) * 3, "reconstructed": (0.6,) * 3}
    row = MeasureRow("Dice", True, means, (0.25, 0.2, 0.3))
    assert "volumes are not those asked for: v 2.1 times." in verdict(row, results(6, got=21.0))


def test_a_pack_that_was_taught_in_a_patients_folder_tells_nothing_of_it(cohort, tmp_path):
    """Nor of the names of scans, which often are those of patients."""
    folder = tmp_path / "Miller^Anna 1950-03-07"
    cohort.rename(folder)
    table = folder / "cases.csv"
    table.write_text(re.sub(r"^(\d+),[^,]*,", r"\1,Miller_Anna_\1_T1w.nii.gz,", table.read_text(), flags=re.M))
    for name in ("00000", "00003"):
        (folder / "cases" / name).rename(folder / "cases" / f"Anna-{name}")
        table.write_text(re.sub(f"^{name},", f"Anna-{name},", table.read_text(), flags=re.M))
    (folder / "cases" / "Anna-00003" / "labels.nii.gz").write_bytes(b"no image")
    work = tmp_path / "work of Anna"
    ended = teach(folder, "--work", work)
    assert ended.code == 0, words(ended)
    pack = tmp_path / "packs" / "mine"
    contents = b"".join(path.name.encode() + path.read_bytes() for path in pack.rglob("*") if path.is_file())
    for secret in ("Miller", "Anna", "1950", "_T1w", str(tmp_path), tmp_path.name):
        assert secret.encode() not in contents, secret
    assert "1 left out: " in (pack / "report.html").read_text("utf-8")
    card = (pack / "README.md").read_text("utf-8")
    assert "vcm teach CASES --name mine --condition ventricles --backbone tiny --steps 4 --batch 2" in card
    key = (work / "report-cases.csv").read_text("utf-8")
    assert "case 1," in key and "Miller_Anna" in key


def test_a_resumed_teaching_says_the_steps_it_was_asked_for(cohort):
    assert teach(cohort, "--minutes", "0", steps=400).code == 0
    again = teach(cohort, steps=6)
    assert again.code == 0 and "At most 6 steps" in again.err and "At most 400" not in again.err
    assert "At most 6 steps of 2 heads, as asked for" in (find_pack("mine").folder / "report.html").read_text("utf-8")


@pytest.fixture
def flow(tmp_path, monkeypatch):
    """A cohort of FLAIR heads for the pack `tiny-brain`, a flow that predicts a velocity."""
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    files = write_files(tmp_path)
    import_family("tiny-brain", "maisi", autoencoder=files["autoencoder"], denoiser=files["denoiser"], config=CONFIG)
    cases = write_cohort(tmp_path / "cohort", 4, find_pack("tiny-brain").backbone.grid)
    told = {"contrast": 11.0, "guidance": 0.0}
    write_table({case.name: replace(case, attributes=told) for case in cases}, tmp_path / "cohort")
    return tmp_path / "cohort"


@pytest.mark.parametrize(("kind", "size"), [("vcm", "full-size one of the paper"), ("mcm", "small one")])
def test_a_backbone_that_predicts_a_velocity_is_taught_a_network_that_corrects_one(flow, kind, size):
    ended = vcm("teach", flow, "--name", "mine", "--backbone", "tiny-brain", "--condition", "skull", "--control-kind",
                kind, "--batch", 1, "--plan", "--device", "cpu")  # fmt: skip
    assert ended.code == 0 and f"the {size} of the kind {kind}" in ended.err, words(ended)
    assert "It will take about" in ended.err


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_control_is_taught(cohort, tmp_path, kind):
    ended = teach(cohort, "--control-kind", kind)
    assert ended.code == 0 and f"the small one of the kind {kind}" in ended.err, words(ended)
    assert find_pack("mine").control.architecture == kind
    card = (tmp_path / "packs" / "mine" / "README.md").read_text("utf-8")
    assert f"--control-kind {kind}" in card


def test_another_kind_under_the_same_name_is_refused(cohort):
    teach(cohort, "--minutes", 0)
    ended = teach(cohort, "--control-kind", "mcm")
    assert ended.code == 2 and "started with the control kind vcm" in ended.err
    unknown = teach(cohort, "--control-kind", "control-net", name="other")
    assert unknown.code != 0 and "controlnet-lite" in unknown.err and "Traceback" not in unknown.err
