"""The benchmark: both ways compute the same, both are reported, and what fails on one side leaves the other."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from bench import INCOMPLETE, main
from benchmark.engine import EngineWay
from benchmark.measuring import Meter, Stage
from benchmark.published import build_published
from benchmark.setting import Setting
from benchmark.tensor_memory import TensorMemory
from vcm.machine.runtime import choose_runtime
from vcm.models.controls.condition_encoder import ConditionEncoder

pytest.importorskip("generative.networks.nets", reason="needs the extra `reference`")

from benchmark.released import ReleasedWay

SMALL = {
    "image_shape": [8, 16, 24],
    "autoencoder": {"num_channels": [4, 8], "norm_num_groups": 4, "num_res_blocks": 1, "attention_levels": [False] * 2},
    "diffusion": {
        "num_channels": [8, 16], "norm_num_groups": 4, "num_head_channels": [0, 8], "attention_levels": [False, True],
        "num_res_blocks": 1,
    },
    "vcm_encoder": {
        "in_channels": 3, "num_channels": [4], "norm_num_groups": 4, "num_res_blocks": [1], "attention_levels": [False],
        "num_head_channels": [0],
    },
    "vcm_unet": {
        "in_channels": 10, "out_channels": 8, "num_channels": [8, 16], "norm_num_groups": 4,
        "num_head_channels": [0, 8], "attention_levels": [False, True], "num_res_blocks": 1,
    },
}  # fmt: skip
STAGES = ["encode", "step", "loop", "decode", "sample", "again"]


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "small.json"
    file.write_text(json.dumps(SMALL))
    return file


def run(capsys, *arguments: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code, err
    return out if code in (0, INCOMPLETE) else err


def measured(capsys, config, *arguments: str, code: int = 0) -> dict:
    out = run(capsys, "--config", str(config), "--steps", "4", "--device", "cpu", "--json", *arguments, code=code)
    return json.loads(out)


def test_both_ways_are_measured_and_compute_the_same(config, capsys):
    result = measured(capsys, config)
    assert result["complete"] and result["size"] == "small.json" and result["grid"] == [8, 16, 24]
    assert result["agreement"]["first step"] < 1e-4 and result["agreement"]["decode"] < 1e-4
    for name in ("released", "engine"):
        stages = result["ways"][name]["stages"]
        assert list(stages) == STAGES
        assert all(stage["seconds"] > 0 and stage["peak_bytes"] > 0 for stage in stages.values())
        assert stages["loop"]["how"] == "measured" and not stages["loop"]["estimated"]
    assert "every step" in result["ways"]["released"]["words"] and "encoded once" in result["ways"]["engine"]["words"]
    assert all(result["ratios"][stage] > 0 for stage in STAGES)
    slow, fast = (result["ways"][name]["stages"]["loop"]["seconds"] for name in ("released", "engine"))
    assert result["ratios"]["loop"] == pytest.approx(slow / fast)


@pytest.fixture(scope="module")
def ways():
    setting = Setting.create(choose_runtime("cpu"), config=SMALL, steps=4)
    networks = build_published(setting.config, torch.device("cpu"), 1)
    return ReleasedWay(setting, networks), EngineWay(setting, networks)


def test_the_engine_encodes_once_and_the_released_way_at_every_step(ways, monkeypatch):
    calls = []
    forward = ConditionEncoder.forward
    monkeypatch.setattr(ConditionEncoder, "forward", lambda *a: calls.append(1) or forward(*a))
    counts = []
    for way in ways:
        calls.clear()
        latent = way.ddim(4)
        counts.append(len(calls))
        assert torch.isfinite(latent).all()
    assert counts == [4, 1]


def test_all_steps_end_in_the_same_latent(ways):
    released, engine = (way.ddim(4) for way in ways)
    assert float((released - engine).abs().max() / released.std()) < 1e-3


def test_the_table_has_every_stage_the_machine_and_the_ratio(config, capsys, tmp_path):
    out = run(capsys, "--config", str(config), "--steps", "4", "--device", "cpu", "--out", str(tmp_path / "b.json"))
    for words in ("encoding", "one step", "4 steps", "decoding", "a Sample", "hardware:", "thread", " ×"):
        assert words in out
    assert json.loads((tmp_path / "b.json").read_text())["complete"]


def test_a_loop_that_would_take_too_long_is_estimated_and_marked(config, capsys, monkeypatch):
    create = Setting.create.__func__
    impatient = classmethod(lambda cls, *given, **options: replace(create(cls, *given, **options), patience=0.0))
    monkeypatch.setattr(Setting, "create", impatient)
    result = measured(capsys, config, "--steps", "1000")
    for way in result["ways"].values():
        stages = way["stages"]
        assert stages["loop"]["estimated"] and stages["loop"]["how"] == "median of a step × 1000"
        assert stages["loop"]["seconds"] >= 1000 * stages["step"]["seconds"]
        assert stages["sample"]["estimated"]
    out = run(capsys, "--config", str(config), "--steps", "1000", "--device", "cpu")
    assert "≈" in out and "estimated from its parts" in out


@pytest.mark.parametrize(("broken", "other"), [(ReleasedWay, "engine"), (EngineWay, "released")])
def test_a_stage_that_runs_out_of_memory_leaves_all_the_others(config, capsys, monkeypatch, broken, other):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(broken, "decode", full)
    result = measured(capsys, config, code=INCOMPLETE)
    mine = result["ways"][broken.name]["stages"]
    assert mine["decode"]["problem"] == mine["sample"]["problem"] == "out of memory"
    assert mine["decode"]["seconds"] is None and mine["loop"]["seconds"] > 0
    assert all(stage["seconds"] > 0 for stage in result["ways"][other]["stages"].values())
    assert result["ratios"]["decode"] is None and result["ratios"]["loop"] > 0
    assert not result["complete"]
    arguments = ("--config", str(config), "--steps", "4", "--device", "cpu")
    assert "out of memory" in run(capsys, *arguments, code=INCOMPLETE)


@pytest.mark.parametrize(("broken", "other"), [(ReleasedWay, "engine"), (EngineWay, "released")])
def test_a_way_that_does_not_fit_at_all_leaves_the_other(config, capsys, monkeypatch, broken, other):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(broken, "__init__", full)
    result = measured(capsys, config, code=INCOMPLETE)
    assert result["ways"][broken.name] == {"words": "", "stages": {}, "problem": "out of memory"}
    assert list(result["ways"][other]["stages"]) == STAGES


@pytest.mark.parametrize(("broken", "other"), [(ReleasedWay, "engine"), (EngineWay, "released")])
def test_an_interruption_ends_one_way_and_reports_both(config, capsys, monkeypatch, broken, other):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(broken, "ddim", interrupted)
    result = measured(capsys, config, code=INCOMPLETE)
    assert result["ways"][broken.name]["problem"] == "interrupted"
    assert list(result["ways"][broken.name]["stages"]) == ["encode"]
    assert list(result["ways"][other]["stages"]) == STAGES


def test_a_plan_that_does_not_suit_the_device_leaves_the_released_way(config, capsys):
    result = measured(capsys, config, "--memory", "offload", code=INCOMPLETE)
    assert "this device has none. Use --memory slabs." in result["ways"]["engine"]["problem"]
    assert list(result["ways"]["released"]["stages"]) == STAGES


def test_a_defect_is_no_lack_of_memory(config, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(EngineWay, "decode", broken)
    out = run(capsys, "--config", str(config), "--steps", "4", "--device", "cpu", code=70)
    assert "shapes do not match" in out


def test_without_the_published_networks_the_remedy_is_the_extra(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "generative"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "generative", None)
    out = run(capsys, "--tiny", code=2)
    assert "monai-generative is not installed" in out and "pip install '.[reference]'" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tiny", "--config", "small.json"], "both say which networks"),
        (["--steps", "0"], "--steps"),
        (["--tiny", "--device", "cuda:9"], "cuda:9"),
        (["--tiny", "--memory", "huge"], "auto, whole, slabs, offload"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_sentence(capsys, monkeypatch, arguments, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    _, err = capsys.readouterr()
    assert ended.value.code != 0 and words in err and "Traceback" not in err


def test_tiny_runs_on_a_processor(capsys):
    result = json.loads(run(capsys, "--tiny", "--steps", "3", "--device", "cpu", "--json"))
    assert result["complete"] and result["size"] == "tiny"
    assert max(result["agreement"].values()) < 1e-4


# Measuring itself.


class Slow:
    """A way whose stages take known times and memory."""

    name, words, sample_steps, weight_bytes = "slow", "", 20, 1000

    def __init__(self, clock) -> None:
        self.clock = clock

    def encode_condition(self) -> None:
        self.clock.now += 3.0
        torch.ones(500)

    def ddim(self, steps, after_step=lambda: None):
        for _ in range(steps):
            self.clock.now += 2.0
            after_step()

    def decode(self, latent):
        self.clock.now += 7.0

    def sample(self) -> None:
        self.clock.now += 50.0


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("benchmark.measuring.time.perf_counter", lambda: clock.now)
    return clock


def meter(clock, patience: float) -> Meter:
    runtime = SimpleNamespace(device=torch.device("cpu"), synchronise=lambda: None)
    return Meter(Slow(clock), runtime, patience)


def test_stages_are_repeated_as_long_as_patience_lasts(clock):
    assert meter(clock, 1000).encoding() == Stage(3.0, "median of 5", 3000)
    assert meter(clock, 7).encoding() == Stage(3.0, "median of 2", 3000)
    assert meter(clock, 0).encoding() == Stage(3.0, "measured", 3000)
    assert meter(clock, 1000).step() == Stage(2.0, "median of 20", 1000)
    assert meter(clock, 0).step().how == "median of 4"


def test_what_is_affordable_is_run_and_the_rest_reckoned_from_its_parts(clock):
    encoding, step, decoding = Stage(3.0, "", 5000), Stage(2.0, "", 6000), Stage(7.0, "", 9000)
    assert meter(clock, 1000).loop(200, encoding, step) == Stage(400.0, "measured", 6000)
    assert meter(clock, 10).loop(200, encoding, step) == Stage(403.0, "median of a step × 200", 6000, estimated=True)
    assert meter(clock, 1000).sample((encoding, decoding), step) == Stage(50.0, "measured", 9000)
    assert meter(clock, 1).sample((encoding, decoding), step) == Stage(50.0, "sum of its stages", 9000, estimated=True)


def test_another_sample_is_run_where_the_first_was_and_lacks_the_encoding_where_it_was_estimated(clock):
    first, encoding = Stage(60.0, "measured", 9000), Stage(3.0, "", 5000)
    assert meter(clock, 1).again(first, encoding) == Stage(50.0, "measured", 9000)
    assert meter(clock, 1).again(replace(first, estimated=True), encoding).seconds == 57.0
    assert meter(clock, 1).again(Stage(problem="out of memory"), encoding).problem == "out of memory"


def test_what_lacks_a_part_says_which_problem_it_had(clock):
    missing = Stage(problem="out of memory")
    assert meter(clock, 9).loop(200, Stage(1.0), missing).problem == "out of memory"
    assert meter(clock, 9).sample((Stage(1.0), missing), Stage(1.0)).problem == "out of memory"


def test_on_a_gpu_the_peak_is_what_was_reserved_since_the_stage_began(clock, monkeypatch):
    events = []
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: events.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: events.append("read") or 4 * 10**9)
    runtime = SimpleNamespace(device=torch.device("cuda"), synchronise=lambda: events.append("wait"))
    stage = Meter(Slow(clock), runtime, 0.0).decoding(None)
    assert stage == Stage(7.0, "measured", 4 * 10**9)
    assert events == ["empty_cache", "reset_peak_memory_stats", "read", "wait", "wait"]


def test_tensors_are_counted_while_they_live_and_once_however_often_they_are_seen():
    before = torch.ones(100)
    with TensorMemory() as memory:
        one = before * 2
        view, same = one.view(10, 10), one.add_(1)
        assert memory.live == 400
        del one, view, same
        assert memory.live == 0
        kept = [torch.zeros(25, dtype=torch.float64) for _ in range(3)]
    assert memory.live == 600 and memory.peak == 600 and len(kept) == 3
