"""From a cohort to a pack: measuring obedience, writing the pack, and the commands that do it."""

import json
from functools import partial

import numpy as np
import pytest
import tiny
import torch
from small_cohort import new_network, write_cohort
from typer.testing import CliRunner
from vcm.cli import train as train_cli
from vcm.conditions import ConditionSpec
from vcm.controls.vcm_control import VcmControl
from vcm.judging.mean_interval import mean_with_interval
from vcm.loading import build_control, load_control
from vcm.packs.store import find_pack
from vcm.training import control_export, control_run
from vcm.training.control_config import ControlTraining
from vcm.training.control_export import Provenance, condition_entries, network_config, write_control_pack
from vcm.training.control_run import save_montage
from vcm.training.obedience import Examiner, Obedience
from vcm.volume import Volume


class DarkIsVentricle:
    """A segmenter for tests: the darkest tenth is ventricle (4)."""

    name = "the darkest tenth"

    def segment(self, image):
        return Volume((image.array < np.quantile(image.array, 0.1)).astype(np.uint8) * 4, image.grid)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def spec():
    return ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})


def examined(cases, network):
    examiner = Examiner(tiny.backbone(prediction="v"), DarkIsVentricle(), spec(), cases[:2], steps=3)
    return examiner, examiner.examine(VcmControl(network, (spec(),)))


def outcome(case, controlled, asked_ml, got_ml):
    volume = Volume(np.zeros(tiny.GRID.shape, np.float32), tiny.GRID)
    return Obedience(case, controlled, 0.31, 0.86, asked_ml, got_ml, volume, volume)


def test_a_control_that_does_nothing_is_measured_as_its_twin(cases):
    _, results = examined(cases, new_network())
    for result in results:
        assert np.array_equal(result.sample.array, result.twin.array)
        assert result.controlled == result.uncontrolled


def test_what_was_asked_for_is_measured_on_the_case(cases):
    _, results = examined(cases, new_network())
    for case, result in zip(cases, results, strict=False):
        assert result.asked_ml == pytest.approx(case.ventricles_ml)
        assert result.got_ml == pytest.approx(np.prod(tiny.GRID.shape) * 0.1 * tiny.GRID.voxel_ml, rel=0.03)


def test_a_control_that_does_something_is_measured_from_the_same_noise(cases):
    network = tiny.randomised(new_network())
    examiner, results = examined(cases, network)
    again = examiner.examine(VcmControl(network, (spec(),)))
    assert not np.array_equal(results[0].sample.array, results[0].twin.array)
    assert np.array_equal(results[0].sample.array, again[0].sample.array)


def test_one_case_has_no_interval():
    assert mean_with_interval([0.7]) == (0.7, 0.7, 0.7)


def test_the_manifest_tells_the_volumes_and_the_place_seen_in_training(cases):
    (entry,) = condition_entries(["ventricles"], cases)
    (structure,) = entry["classes"]
    volumes = [case.ventricles_ml for case in cases]
    low, high = structure["typical_ml"]
    assert min(volumes) <= low < high <= max(volumes) + 0.05
    # The block of every case: i 5 to 5.5…6.5, j 6–10, k 9–16.
    expected = tiny.GRID.to_world((np.mean([5.5, 6, 6.5]), 8, 12.5))
    assert structure["centroid_mm"] == pytest.approx(expected.tolist(), abs=0.06)
    assert structure["segmenter"] == [4]


def test_a_pack_is_written_that_can_be_loaded_and_tells_its_worth(cases, packs):
    backbone = find_pack("tiny")
    torch.manual_seed(0)
    network = tiny.randomised(build_control(network_config(backbone), {"ventricles": 1}))
    provenance = Provenance(
        command="vcm train control --minutes 5", hardware="a test", minutes=5.4, steps=120, heads=3, cases=3,
        data="balls painted by a test.",
    )  # fmt: skip
    results = [outcome("a", 0.8, 10, 12), outcome("b", 0.9, 40, 38), outcome("c", 0.7, 70, 60)]
    folder = packs / "tiny-ventricles"
    write_control_pack(folder, network, backbone, ControlTraining(backbone="tiny"), cases, provenance, results)

    loaded = load_control(find_pack("tiny-ventricles"))
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor.half().float()), name
    card = (folder / "README.md").read_text()
    for fact in ("0.800 (0.552–1.048)", "0.310", "0.860", "vcm train control --minutes 5", "a test", "balls painted"):
        assert fact in card
    assert "synthetic" in card and "research only" in card
    assert json.loads((folder / "training.json").read_text())["backbone"] == "tiny"


def test_the_picture_shows_each_case_in_nine_tiles(cases, tmp_path):
    from PIL import Image

    examiner, results = examined(cases, new_network())
    save_montage(tmp_path / "montage.png", examiner, results)
    with Image.open(tmp_path / "montage.png") as picture:
        assert picture.size == (9 * 224, 2 * 224)
        colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert any(r > 200 and 100 < g < 220 and b < 60 for r, g, b in colours)  # the outline of the mask


def test_the_commands_train_continue_and_export(cases, packs, monkeypatch, tmp_path):
    small = {**tiny_network(), "schedule": {}}
    monkeypatch.setattr(control_run, "network_config", lambda pack: {**small, "typical_shape": [8, 12, 16]})
    monkeypatch.setattr(control_export, "network_config", lambda pack: {**small, "typical_shape": [8, 12, 16]})
    monkeypatch.setattr(control_run, "Examiner", partial(Examiner, steps=2))
    monkeypatch.setattr(control_run.PackSegmenter, "from_pack", lambda pack: DarkIsVentricle())
    config = tmp_path / "settings.toml"
    config.write_text('backbone = "tiny"\nsteps = 4\nbatch = 2\nprecision = "fp32"\n')
    cohort, run, pack = str(cases[0].folder.parents[1]), str(tmp_path / "run"), str(packs / "tiny-ventricles")
    threads = ["--threads", str(torch.get_num_threads())]
    shared = ["--cases", cohort, "--held-out", cohort, "--held-out-cases", "2", *threads]

    begun = CliRunner().invoke(train_cli.app, ["control", "--config", str(config), "--out", run, *shared])
    assert begun.exit_code == 0, begun.output
    assert "step 4 of 4" in begun.output and "The training is complete" in begun.output
    assert "Dice controlled" in begun.output
    more = CliRunner().invoke(train_cli.app, ["control", "--steps", "6", "--out", run, *shared])
    assert more.exit_code == 0, more.output
    assert "going on from step 4" in more.output and "step 6 of 6" in more.output
    done = CliRunner().invoke(train_cli.app, ["export", "--run", run, "--out", pack, "--data", "blocks.", *shared])
    assert done.exit_code == 0, done.output
    assert find_pack("tiny-ventricles").control.conditions[0].classes[0].segmenter == (4,)


def tiny_network():
    from small_cohort import NETWORK

    return {**NETWORK, "direct": True}
