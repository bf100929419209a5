"""Seconds and peak memory of one way's stages; what is too long to wait for is estimated, and said to be."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

import torch
from vcm.machine.runtime import Runtime

from benchmark.tensor_memory import TensorMemory
from benchmark.way import Way

REPEATS = 5
WARM_UP_STEPS, TIMED_STEPS, FEWEST_STEPS = 3, 20, 3
AFFORDABLE = 4
"""How many times the patience for one stage a whole loop may take to be run rather than estimated."""


@dataclass(frozen=True)
class Stage:
    """What one stage took: seconds, how they were found, the peak of memory in bytes; or why there is nothing.

    `estimated` seconds were estimated from other stages.
    """

    seconds: float | None = None
    how: str = ""
    peak_bytes: int | None = None
    estimated: bool = False
    problem: str = ""


class Meter:
    """Measures the stages of one way on one device.

    On CUDA the peak is what PyTorch's allocator had reserved, weights included; elsewhere the weights and all tensors
    alive at one time, followed in a run of its own that is not timed. The first run of anything is never timed.
    A stage is repeated for about `patience` seconds at most.
    """

    def __init__(self, way: Way, runtime: Runtime, patience: float) -> None:
        self.way, self.runtime, self.patience = way, runtime, patience

    def encoding(self) -> Stage:
        """One run of the condition encoder."""
        return self._repeated(self.way.encode_condition)

    def decoding(self, latent: torch.Tensor) -> Stage:
        """One latent to its image."""
        return self._repeated(lambda: self.way.decode(latent))

    def step(self) -> Stage:
        """One DDIM step: the median over some, after the first few."""
        peak = None if self._on_cuda else self._peak(lambda: self.way.ddim(1))
        times: list[float] = []
        started = time.perf_counter()

        def after_step() -> None:
            self.runtime.synchronise()
            times.append(time.perf_counter())
            if len(times) > WARM_UP_STEPS + FEWEST_STEPS and times[-1] - started > self.patience:
                raise _EnoughError

        with self._cuda_peak() as on_cuda, suppress(_EnoughError):
            self.way.ddim(WARM_UP_STEPS + TIMED_STEPS, after_step)
        each = [later - earlier for earlier, later in pairwise(times)][WARM_UP_STEPS - 1 :]
        return Stage(median(each), f"median of {len(each)}", peak or on_cuda())

    def loop(self, steps: int, encoding: Stage, step: Stage) -> Stage:
        """All steps of DDIM, the condition's encoding included; `encoding` counts only where it is not in the step."""
        if step.seconds is None:
            return Stage(problem=step.problem or "no step was measured")
        expected = (encoding.seconds or 0.0) + steps * step.seconds
        if expected <= AFFORDABLE * self.patience:
            return self._once(lambda: self.way.ddim(steps), step.peak_bytes)
        return Stage(expected, f"median of a step × {steps}", step.peak_bytes, estimated=True)

    def sample(self, parts: tuple[Stage, ...], step: Stage) -> Stage:
        """A Sample from noise to image; `parts` come beside its steps."""
        missing = next((s for s in (*parts, step) if s.seconds is None), None)
        if missing is not None:
            return Stage(problem=missing.problem or "a part was not measured")
        expected = sum(part.seconds or 0.0 for part in parts) + self.way.sample_steps * (step.seconds or 0.0)
        peak = max(s.peak_bytes or 0 for s in (*parts, step))
        if expected <= AFFORDABLE * self.patience:
            return self._once(self.way.sample, peak)
        return Stage(expected, "sum of its stages", peak, estimated=True)

    def again(self, first: Stage, encoding: Stage) -> Stage:
        """Another Sample with the same condition right after the first, for a way that keeps what it has encoded."""
        if first.seconds is None:
            return first
        if first.estimated:
            return replace(first, seconds=first.seconds - (encoding.seconds or 0.0))
        return self._once(self.way.sample, first.peak_bytes)

    @property
    def _on_cuda(self) -> bool:
        return self.runtime.device.type == "cuda"

    def _once(self, run: Callable[[], object], peak: int | None) -> Stage:
        with self._cuda_peak() as on_cuda:
            seconds = self._time(run)
        return Stage(seconds, "measured", on_cuda() or peak)

    def _repeated(self, run: Callable[[], object]) -> Stage:
        if self._on_cuda:
            with self._cuda_peak() as on_cuda:
                run()
            peak = on_cuda()
        else:
            peak = self._peak(run)
        seconds: list[float] = []
        while len(seconds) < REPEATS and (not seconds or sum(seconds) + seconds[-1] < self.patience):
            seconds.append(self._time(run))
        return Stage(median(seconds), f"median of {len(seconds)}" if len(seconds) > 1 else "measured", peak)

    def _time(self, run: Callable[[], object]) -> float:
        self.runtime.synchronise()
        started = time.perf_counter()
        run()
        self.runtime.synchronise()
        return time.perf_counter() - started

    def _peak(self, run: Callable[[], object]) -> int:
        with TensorMemory() as memory:
            run()
        return self.way.weight_bytes + memory.peak

    @contextmanager
    def _cuda_peak(self) -> Iterator[Callable[[], int | None]]:
        if not self._on_cuda:
            yield lambda: None
            return
        device = self.runtime.device
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_reserved(device))


class _EnoughError(Exception):
    """Enough steps were timed."""
