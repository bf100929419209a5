"""The benchmark: one way after the other, so that neither takes memory from the other, and both side by side."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from vcm.core.errors import Code, VcmError

from benchmark.engine import EngineWay
from benchmark.measuring import Meter, Stage
from benchmark.published import PublishedNetworks, build_published
from benchmark.released import ReleasedWay
from benchmark.setting import SEED, Setting
from benchmark.way import Way

INTERRUPTED = "interrupted"
OUT_OF_MEMORY = "out of memory"
OnWords = Callable[[str], None]


@dataclass(eq=False)
class WayResult:
    """What was found out about one way; `eps` and `image` are its first ε and an image, to compare."""

    name: str
    words: str = ""
    stages: dict[str, Stage] = field(default_factory=dict)
    eps: Tensor | None = None
    image: Tensor | None = None
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether every stage has its seconds."""
        return (
            not self.problem and bool(self.stages) and all(stage.seconds is not None for stage in self.stages.values())
        )


def run_benchmark(setting: Setting, on_words: OnWords = lambda _: None) -> tuple[WayResult, WayResult]:
    """Measure the released way and the engine. What ends one early (memory, Ctrl-C) does not end the other."""
    on_words(f"making the networks with random weights ({setting.size})")
    networks = _build(setting)
    released = _measure("released", lambda: ReleasedWay(setting, networks), setting, on_words)
    networks.to("cpu")
    engine = _measure("engine", lambda: EngineWay(setting, networks), setting, on_words)
    return released, engine


def _build(setting: Setting) -> PublishedNetworks:
    """On the device, which is quicker; where they do not fit there, the engine can still have them."""
    try:
        return build_published(setting.config, setting.runtime.device, SEED)
    except torch.OutOfMemoryError:
        return build_published(setting.config, torch.device("cpu"), SEED)


def _measure(name: str, build: Callable[[], Way], setting: Setting, on_words: OnWords) -> WayResult:
    result = WayResult(name)
    try:
        way = build()
        result.words = way.words
        _stages(way, setting, result, on_words)
        result.eps, result.image = way.first_eps().float().cpu(), way.decode(setting.noise).float().cpu()
    except KeyboardInterrupt:
        result.problem = INTERRUPTED
        on_words(f"{name}: interrupted")
    except VcmError as error:
        result.problem = str(error)
        on_words(f"{name}: {error}")
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        result.problem = OUT_OF_MEMORY
        on_words(f"{name}: {OUT_OF_MEMORY}")
    _tidy()
    return result


def _stages(way: Way, setting: Setting, result: WayResult, on_words: OnWords) -> None:
    meter, stages = Meter(way, setting.runtime, setting.patience), result.stages

    def stage(key: str, words: str, measure: Callable[[], Stage]) -> Stage:
        on_words(f"{way.name}: {words}")
        try:
            stages[key] = measure()
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            _tidy()
            stages[key] = Stage(problem=OUT_OF_MEMORY)
        return stages[key]

    encoding = stage("encode", "encoding the condition", meter.encoding)
    step = stage("step", "one step", meter.step)
    # The released way encodes within its step; counted beside it, it would count twice.
    beside = Stage(0.0) if isinstance(way, ReleasedWay) else encoding
    stage("loop", f"{setting.steps} steps", lambda: meter.loop(setting.steps, beside, step))
    decoding = stage("decode", "decoding", lambda: meter.decoding(setting.noise))
    sample = stage("sample", "a Sample", lambda: meter.sample((beside, decoding), step))
    again = "another Sample with the same condition"
    stage("again", again, lambda: sample if isinstance(way, ReleasedWay) else meter.again(sample, encoding))


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, VcmError):
        return error.code is Code.OUT_OF_MEMORY
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _tidy() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
