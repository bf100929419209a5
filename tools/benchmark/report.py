"""What the benchmark found, for people as a table and for machines as plain data."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from vcm import __version__
from vcm.core.errors import VcmError
from vcm.core.reading import read_text
from vcm.machine.runtime import Runtime
from vcm.sampling.samplers import DEFAULT_STEPS

from benchmark.run import WayResult
from benchmark.setting import Setting

FORMAT = 1


def as_dict(setting: Setting, released: WayResult, engine: WayResult) -> dict[str, Any]:
    """The whole benchmark as JSON has it: seconds, bytes, and how often the engine goes into the released way."""
    return {
        "format": FORMAT,
        "engine_version": __version__,
        "size": setting.size,
        "grid": list(setting.config.grid.shape),
        "steps": setting.steps,
        "standard_steps": DEFAULT_STEPS["dpm++"],
        "hardware": hardware(setting.runtime),
        "versions": {"torch": torch.__version__, **{name: version(name) for name in ("monai", "monai-generative")}},
        "ways": {way.name: _way(way) for way in (released, engine)},
        "ratios": {key: ratio(released, engine, key) for key in released.stages},
        "agreement": agreement(released, engine),
        "complete": released.complete and engine.complete,
    }


def table(setting: Setting, released: WayResult, engine: WayResult) -> Table:
    """Stage, released, engine and ratio, with peaks of memory."""
    result = Table(title=f"{setting.size}, {' × '.join(map(str, setting.config.grid.shape))}", title_justify="left")
    for heading in ("stage", "released", "engine", "ratio", "peak released", "peak engine"):
        result.add_column(heading, justify="left" if heading == "stage" else "right")
    for key, words in {
        "encode": "encoding",
        "step": "one step",
        "loop": f"{setting.steps} steps",
        "decode": "decoding",
        "sample": "a Sample",
        "again": "another, same condition",
    }.items():
        times = ratio(released, engine, key)
        cells = [_time(released, key), _time(engine, key), "–" if times is None else f"{times:.1f} ×"]
        result.add_row(words, *cells, _peak(released, key), _peak(engine, key))
    return result


def lines(setting: Setting, released: WayResult, engine: WayResult) -> list[str]:
    """What stands around the table: the machine, the two ways, and whether they compute the same."""
    found = agreement(released, engine)
    measured = [f"{name} {value:.1e}" for name, value in found.items() if value is not None]
    return [
        f"hardware: {hardware(setting.runtime)}",
        *(f"{way.name}: {way.words or 'not made'}{_ended(way)}" for way in (released, engine)),
        f"a Sample: {setting.steps} DDIM steps and decode as released, {DEFAULT_STEPS['dpm++']} DPM-Solver++ steps and "
        "decode in the engine"
        + ("; ≈ would take too long here and is estimated from its parts" if _any_estimated(released, engine) else ""),
        f"largest difference between the two, in standard deviations: {', '.join(measured) or 'not measured'}",
        "peak: "
        + (
            "memory that PyTorch reserved on the GPU, weights included"
            if setting.runtime.device.type == "cuda"
            else "weights and all tensors alive at one time, without what a kernel takes for itself"
        ),
    ]


def ratio(released: WayResult, engine: WayResult, key: str) -> float | None:
    """How many times longer the released way takes; None where one of the two is missing."""
    slow, fast = (way.stages.get(key) for way in (released, engine))
    if slow is None or fast is None or slow.seconds is None or not fast.seconds:
        return None
    return slow.seconds / fast.seconds


def agreement(released: WayResult, engine: WayResult) -> dict[str, float | None]:
    """The largest difference of the first ε and of an image, in standard deviations of the released one."""
    return {"first step": _relative(released.eps, engine.eps), "decode": _relative(released.image, engine.image)}


def hardware(runtime: Runtime) -> str:
    """The device with what makes its times comparable."""
    if runtime.device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''}, PyTorch {torch.__version__}"
    return f"{runtime.words.rpartition(',')[0]}, PyTorch {torch.__version__}"


def _way(way: WayResult) -> dict[str, Any]:
    stages = {key: asdict(stage) for key, stage in way.stages.items()}
    return {"words": way.words, "stages": stages, "problem": way.problem}


def _time(way: WayResult, key: str) -> str:
    stage = way.stages.get(key)
    if stage is None or stage.seconds is None:
        return (stage.problem if stage else "") or "–"
    value = f"{stage.seconds * 1e3:.1f} ms" if stage.seconds < 1 else f"{stage.seconds:.2f} s"
    return f"≈ {value}" if stage.estimated else value


def _peak(way: WayResult, key: str) -> str:
    stage = way.stages.get(key)
    if stage is None or stage.peak_bytes is None:
        return "–"
    return f"{stage.peak_bytes / 1e9:.2f} GB" if stage.peak_bytes >= 1e8 else f"{stage.peak_bytes / 1e6:.1f} MB"


def _any_estimated(*ways: WayResult) -> bool:
    return any(stage.estimated for way in ways for stage in way.stages.values())


def _ended(way: WayResult) -> str:
    return f" ({way.problem})" if way.problem else ""


def _relative(expected: Tensor | None, found: Tensor | None) -> float | None:
    if expected is None or found is None:
        return None
    return float((found - expected).abs().max() / expected.std())


def _processor() -> str:
    try:
        entries = read_text(Path("/proc/cpuinfo")).splitlines()
        return next(line.partition(":")[2].strip() for line in entries if line.startswith("model name"))
    except (VcmError, StopIteration):
        return platform.processor() or platform.machine()
