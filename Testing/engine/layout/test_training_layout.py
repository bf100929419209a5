"""`vcm train layout`: both parts in one command, resumable, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import sys

import numpy as np
import pytest
import tiny
import torch
from command_line import vcm
from safetensors.torch import save_file
from small_cohort import write_cohort
from vcm.cohort.case_conditions import condition_spec
from vcm.conditions.condition import Condition
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.layout.layout import Layout
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import find_pack, layouts_for
from vcm.packs.tensors.checkpoints import read_checkpoint
from vcm.sampling.completing import complete
from vcm.training.layout.settings import LayoutSettings
from vcm.training.layout.shown_structures import CLASSES, MASKS, draw_structures, possible_labels
from vcm.training.trainer.checkpoint import load_checkpoint
from vcm.training.trainer.task import slots_of
from vcm.volumes.volume_files import read_volume, write_volume

SETTINGS = """
backbone = "tiny"
backbones = ["brainldm"]
steps = {steps}
batch = 2
warmup = 1
ema = 0.5
precision = "fp32"
save_every = 2
sampling_steps = 4
network = {{channels = [16, 16, 16], blocks = [1, 1, 1], shown = 8}}

[autoencoder]
steps = {first}
batch = 2
crop = 0
warmup = 1
ema = 0.5
learning_rate = 1e-2
save_every = 2
network = {{latent_channels = 4, width = 16, half = 8}}
"""


@pytest.fixture(autouse=True)
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


@pytest.fixture
def cohort(tmp_path):
    write_cohort(tmp_path / "cohort")
    return tmp_path / "cohort"


def started(folder, out="run", steps=3, first=3, rest="", minutes=None, cases=None, expect=0):
    """`vcm train layout` with so many steps of both parts."""
    (folder / "layout.toml").write_text(rest + SETTINGS.format(steps=steps, first=first))
    words = ["train", "layout", f"--cases={cases or folder / 'cohort'}", f"--config={folder / 'layout.toml'}"]
    words += ["--device=cpu", f"--out={folder / out}", *([f"--minutes={minutes}"] if minutes is not None else [])]
    done = vcm(*words)
    assert done.code == expect, done.err
    return done


@pytest.fixture
def train(tmp_path, cohort):
    return lambda *given, **options: started(tmp_path, *given, **options)


def export(folder, run="run"):
    out = folder / "packs" / "tiny-layout"
    return vcm("train", "export", f"--run={folder / run}", f"--out={out}", "--licence=Apache-2.0")


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder with a layout that has learned for some seconds, its cohort and its packs."""
    folder = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(folder / "packs"))
        tiny.write_packs(folder / "packs")
        write_cohort(folder / "cohort")
        started(folder, steps=150, first=300, rest="learning_rate = 5e-3\n")
        assert export(folder).code == 0
    return folder


@pytest.fixture
def with_learned(learned, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(learned / "packs"))
    return learned


def truth(folder, case):
    return read_volume(folder / "cohort" / "cases" / case / "labels.nii.gz").array


def test_one_command_trains_both_parts_and_export_makes_a_pack_of_them(with_learned):
    pack = find_pack("tiny-layout")
    assert [each.name for each in layouts_for(find_pack("tiny"))] == ["tiny-layout"]
    assert pack.layout.backbones == ("tiny", "brainldm")
    assert pack.layout.grid.same_as(tiny.GRID)
    assert pack.layout.latent_shape == (4, 4, 6, 8)
    assert pack.layout.licence.name == "Apache-2.0"
    assert "Completes structures" in (pack.folder / "README.md").read_text()
    assert vcm("packs", "verify", "tiny-layout").code == 0


def test_what_it_has_learned_grows_around_what_is_drawn(with_learned):
    """Background outside the head, CSF at its rim, white matter in the middle, each where the cohort has it."""
    pack = find_pack("tiny-layout")
    mask = np.zeros(tiny.GRID.shape, np.uint8)
    mask[3:6, 7:11, 9:17] = 1
    drawn = Condition(condition_spec("ventricles"), Volume(mask, tiny.GRID))
    made = complete(Layout.load(pack), pack.layout, [drawn], tiny.GRID, seed=1).array
    assert np.array_equal(made == 4, mask)
    real = np.where(mask > 0, 4, np.where(truth(with_learned, "00000") == 4, 1, truth(with_learned, "00000")))
    for label in (0, 1, 7):
        both = 2 * ((made == label) & (real == label)).sum()
        assert both / ((made == label).sum() + (real == label).sum()) > 0.8, label


def test_the_autoencoder_gives_label_maps_back_as_they_lie(with_learned):
    """Off every middle, so that an exchanged axis or side would be seen."""
    layout, real = Layout.load(find_pack("tiny-layout")), truth(with_learned, "00002")
    latent = layout.autoencoder.encode(torch.from_numpy(real)[None])
    made = layout.autoencoder.decode(latent)[0].argmax(0).numpy()
    assert 2 * ((made == 4) & (real == 4)).sum() / ((made == 4).sum() + (real == 4).sum()) > 0.7
    centres = [np.argwhere(one == 4).mean(0) for one in (made, real)]
    assert np.abs(centres[0] - centres[1]).max() < 0.7


def test_latents_that_the_denoiser_learns_are_standard(train, tmp_path):
    train(steps=1, first=10)
    assert export(tmp_path).code == 0
    layout = Layout.load(find_pack("tiny-layout"))
    maps = [read_volume(path).array for path in sorted((tmp_path / "cohort").glob("cases/*/labels.nii.gz"))]
    latents = layout.autoencoder.encode(torch.from_numpy(np.stack(maps)))
    assert latents.mean(dim=(0, 2, 3, 4)).abs().max() < 0.02
    assert (latents.std(dim=(0, 2, 3, 4)) - 1).abs().max() < 0.05


@pytest.mark.parametrize("stop", ["first", "second"])
def test_a_training_that_was_stopped_goes_on_to_the_same_weights(train, tmp_path, stop, monkeypatch):
    train("whole", steps=4, first=4)
    from vcm.training.trainer.trainer import Trainer

    usual, taken = Trainer.take_step, []

    def killed(self):
        if len(taken) == {"first": 3, "second": 7}[stop]:
            raise KeyboardInterrupt
        taken.append(self.settings.kind)
        return usual(self)

    monkeypatch.setattr(Trainer, "take_step", killed)
    train("stopped", steps=4, first=4, expect=130)
    assert taken[-1] == {"first": "label-autoencoder", "second": "layout"}[stop]
    monkeypatch.setattr(Trainer, "take_step", usual)
    assert "resuming from step 2" in train("stopped", steps=4, first=4).out
    for part in ("", "autoencoder"):
        whole, stopped = (
            load_checkpoint(tmp_path / run / part / "checkpoint.pt")["average"] for run in ("whole", "stopped")
        )
        assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_it_pauses_within_the_first_part_and_says_so(train, tmp_path):
    assert "run the same command to go on" in train(minutes=0).out
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    refused = export(tmp_path)
    assert refused.code == 1
    assert "There is no checkpoint" in refused.err
    assert "complete" in train().out


def test_another_autoencoder_is_refused_under_a_denoiser_that_has_begun(train, tmp_path):
    train()
    path = tmp_path / "run" / "autoencoder.safetensors"
    path.unlink()
    train("other", first=6)
    path.write_bytes((tmp_path / "other" / "autoencoder.safetensors").read_bytes())
    assert "started with another autoencoder" in train(expect=2).err


START = """
backbone = "tiny"
start = "tiny-layout"
steps = {steps}
batch = 2
warmup = 1
ema = 0.5
save_every = 2
learning_rate = {rate}
precision = "fp32"
"""


def go_on(learned, folder, steps=1, rate=1e-9, rest="", cohort=None, expect=0):
    """`vcm train layout` from the pack that has been trained before."""
    (folder / "start.toml").write_text(START.format(steps=steps, rate=rate) + rest)
    words = [f"--cases={cohort or learned / 'cohort'}", f"--config={folder / 'start.toml'}", "--device=cpu"]
    done = vcm("train", "layout", *words, f"--out={folder / 'further'}")
    assert done.code == expect, done.err
    return done


def test_a_training_goes_on_from_a_pack(with_learned, tmp_path):
    go_on(with_learned, tmp_path)
    former = find_pack("tiny-layout")
    out = with_learned / "packs" / "further"
    assert vcm("train", "export", f"--run={tmp_path / 'further'}", f"--out={out}", "--licence=Apache-2.0").code == 0
    pack = find_pack("further")
    assert (pack.layout.latent_shape, pack.layout.networks) == (former.layout.latent_shape, former.layout.networks)
    new, old = Layout.load(pack).state_dict(), Layout.load(former).state_dict()
    assert all(torch.allclose(new[name], old[name], atol=1e-3) for name in old)
    assert "Went on with the weights of the pack `tiny-layout`. 1 of 1 steps" in (out / "README.md").read_text("utf-8")
    shutil.rmtree(out)


def test_what_goes_on_learns_and_is_resumed(with_learned, tmp_path):
    go_on(with_learned, tmp_path, steps=2, rate=1e-2)
    begun = load_checkpoint(tmp_path / "further" / "checkpoint.pt")["average"]
    assert "resuming from step 2" in go_on(with_learned, tmp_path, steps=4, rate=1e-2).out
    further = load_checkpoint(tmp_path / "further" / "checkpoint.pt")["average"]
    assert not all(torch.equal(begun[name], further[name]) for name in begun)


def test_it_goes_on_with_the_autoencoder_that_it_began_with(with_learned, tmp_path):
    """Whatever becomes of the pack, and whatever is asked of a folder in which another training lies."""
    go_on(with_learned, tmp_path, steps=2, rate=1e-2)
    own = (tmp_path / "further" / "autoencoder.safetensors").read_bytes()
    former = with_learned / "packs" / "tiny-layout"
    shutil.copytree(former, tmp_path / "kept")
    try:
        weights = read_checkpoint(former / "autoencoder.safetensors")
        write_file = {name: tensor + 0.5 for name, tensor in weights.items()}
        (former / "autoencoder.safetensors").unlink()
        save_file(write_file, former / "autoencoder.safetensors")
        write_manifest(former, json.loads((former / "manifest.json").read_text("utf-8")))
        assert "resuming from step 2" in go_on(with_learned, tmp_path, steps=3, rate=1e-2).out
        assert (tmp_path / "further" / "autoencoder.safetensors").read_bytes() == own
    finally:
        shutil.rmtree(former)
        shutil.move(tmp_path / "kept", former)


def test_a_pack_goes_on_with_more_blocks(with_learned, tmp_path):
    """They change nothing before they learn, and then learn."""
    former = find_pack("tiny-layout")
    assert former.layout.networks["denoiser"]["blocks"] == [1, 1, 1]
    for folder, rate in (("grown", 1e-9), ("learned", 1e-2)):
        (tmp_path / folder).mkdir()
        go_on(with_learned, tmp_path / folder, steps=4, rate=rate, rest="network = {blocks = [2, 1, 3]}\n")
    out = with_learned / "packs" / "grown"
    try:
        run = tmp_path / "grown" / "further"
        assert vcm("train", "export", f"--run={run}", f"--out={out}", "--licence=Apache-2.0").code == 0
        pack = find_pack("grown")
        assert pack.layout.networks["denoiser"] == {**former.layout.networks["denoiser"], "blocks": [2, 1, 3]}
        larger, smaller = Layout.load(pack), Layout.load(former)
        channels, *sizes = former.layout.latent_shape
        latent, shown = torch.randn(1, channels, *sizes), torch.randint(0, 11, (1, *former.layout.grid.shape))
        attributes = torch.full((1, len(former.layout.attributes)), torch.nan)
        with torch.no_grad():
            new, old = (
                layout.predict(latent, 400.0, layout.denoiser.see(shown, torch.eye(11)[None]), attributes).value
                for layout in (larger, smaller)
            )
        assert old.std() > 0.01
        assert torch.allclose(new, old, atol=1e-4)
    finally:
        shutil.rmtree(out)
    learned = load_checkpoint(tmp_path / "learned" / "further" / "checkpoint.pt")["average"]
    for added in ("fine_down.1", "fine_up.1", "coarse.1", "coarse.2"):
        assert learned[f"{added}.conv2.weight"].abs().max() > 1e-3


def test_what_cannot_go_on_from_a_pack_is_refused(with_learned, tmp_path):
    refused = go_on(with_learned, tmp_path, rest="network = {shown = 16}\n", expect=2)
    assert "network must be blocks alone where start names a pack" in " ".join(refused.err.split())
    refused = go_on(with_learned, tmp_path, rest="network = {blocks = [1, 0, 1]}\n", expect=2)
    assert "to start with has more blocks than the setting network leaves it" in " ".join(refused.err.split())
    refused = go_on(with_learned, tmp_path, rest="network = {blocks = [1]}\n", expect=2)
    assert "No network can be made so" in " ".join(refused.err.split())
    write_cohort(tmp_path / "moved", grid=Grid(tiny.GRID.shape, tiny.GRID.affine + np.eye(4)[3] * [[1], [0], [0], [0]]))
    refused = go_on(with_learned, tmp_path, cohort=tmp_path / "moved", expect=2)
    assert "another grid than the layout tiny-layout" in " ".join(refused.err.split())
    assert not (tmp_path / "further" / "settings.json").exists(), "what is refused begins nothing"


def test_a_grid_that_cannot_be_divided_by_four_is_refused(train, tmp_path):
    write_cohort(tmp_path / "odd", grid=Grid((20, 24, 34), tiny.GRID.affine))
    assert "multiples of 4, not (20, 24, 34)" in " ".join(train(cases=tmp_path / "odd", expect=2).err.split())


@pytest.mark.parametrize(
    "change", ["channels = [16, 16]", "chanels = [16, 16, 16]", "blocks = [1]", "halves = 8", "width = -4"]
)
def test_options_that_no_network_can_have_are_refused_before_anything_is_trained(train, tmp_path, monkeypatch, change):
    name = change.split()[0].replace("chanels", "channels").replace("halves", "half")
    assert name in SETTINGS
    odd = re.sub(rf"{name} = (\[.*?\]|\d+)", change, SETTINGS, count=1)
    assert odd != SETTINGS
    monkeypatch.setattr(sys.modules[__name__], "SETTINGS", odd)
    refused = train(expect=2)
    assert "No network can be made so" in refused.err
    assert "step" not in refused.out


def test_a_case_with_a_label_that_no_layout_has_is_left_out(train, cohort):
    path = cohort / "cases" / "00001" / "labels.nii.gz"
    labels = read_volume(path)
    array = np.array(labels.array)
    array[0, 0, 0] = 11
    write_volume(path, Volume(array, labels.grid))
    words = " ".join(train().out.split())
    assert "Case 00001 is left out. It holds the label 11, and the highest is 10." in words


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("nothing = 0.7\nalone = 0.4", "alone"),
        ("[autoencoder]\ncrop = 20", "crop"),
        ("[autoencoder]\nkrop = 1", "krop"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, cohort, entry, words):
    (tmp_path / "layout.toml").write_text(f'backbone = "tiny"\n{entry}\n')
    config, out = f"--config={tmp_path / 'layout.toml'}", f"--out={tmp_path / 'run'}"
    done = vcm("train", "layout", f"--cases={cohort}", config, out)
    assert done.code == 2
    assert words in done.err


def test_every_structure_that_can_be_drawn_is_shown_and_so_is_nothing():
    settings = LayoutSettings(backbone="tiny")
    drawn = [draw_structures(settings, slot) for slot in slots_of(1, 0, 2000, 3, range(2000))]
    shares = {what: np.mean([one == what for one in drawn]) for what in ((), CLASSES, MASKS[:1])}
    assert shares[()] > 0.08
    assert shares[CLASSES] > 0.08
    assert shares[MASKS[:1]] > 0.03
    assert {structure for one in drawn for structure in one} == {*CLASSES, *MASKS}
    assert frozenset({4}) in MASKS
    assert len({len(one) for one in drawn}) > 8


def test_what_training_shows_is_what_completing_shows():
    """A voxel's possible labels by the tables of the training, and by what was drawn."""
    from vcm.anatomy.structures import SEGMENTER_CLASSES
    from vcm.conditions import possible_labels as drawing

    rng = np.random.default_rng(2)
    truth = rng.integers(0, 11, (4, 5, 6))
    shown = (MASKS[1], frozenset({4}), frozenset({1, 10}), frozenset({7}))
    table = possible_labels([shown], 11)[0].numpy() > 0
    given = [drawing.GivenStructure(structure, np.isin(truth, list(structure))) for structure in shown]
    bits = drawing.possible_labels(given, truth.shape, SEGMENTER_CLASSES)
    assert np.array_equal(np.moveaxis(table[truth], -1, 0), drawing.planes(bits, 11))


def test_in_eight_bits_it_is_half_as_large_and_completes_almost_the_same(with_learned):
    pack = find_pack("tiny-layout")
    out = with_learned / "packs" / "small-layout"
    run = f"--run={with_learned / 'run'}"
    assert vcm("train", "export", run, f"--out={out}", "--bits=8", "--licence=Apache-2.0").code == 0
    small = find_pack("small-layout")
    assert small.manifest.size < 0.8 * pack.manifest.size
    heads = [complete(Layout.load(each), each.layout, [], tiny.GRID, seed=1).array for each in (pack, small)]
    assert (heads[0] == heads[1]).mean() > 0.9


def test_the_settings_lie_in_the_pack(train, tmp_path):
    train()
    assert export(tmp_path).code == 0
    kept = json.loads((tmp_path / "packs" / "tiny-layout" / "training.json").read_text())
    assert kept["kind"] == "layout"
    assert kept["autoencoder"]["network"]["width"] == 16
