"""CUDA graphs played on the CPU: what runs while one is captured is written down, and replayed into the same tensors.

As on a GPU, a captured computation knows its tensors by place: an input that was not copied into them is not seen, and
a result is overwritten by the next replay. Whatever would make a GPU wait for the host is refused during a capture.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

SYNCHRONISING = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "lift_fresh",
    "lift_fresh_copy", "uniform_", "normal_", "randn", "rand", "bernoulli_",
}  # fmt: skip


class RecordedGraph(TorchDispatchMode):
    """Stands in for `torch.cuda.CUDAGraph`."""

    made: ClassVar[list[RecordedGraph]] = []

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple] = []
        self.replays = 0
        self.options: dict = {}
        RecordedGraph.made.append(self)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in SYNCHRONISING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, recorded in self.operations:
            fresh = func(*args, **kwargs)
            for old, new in zip(_flat(recorded), _flat(fresh), strict=True):
                if old.untyped_storage()._cdata != new.untyped_storage()._cdata:
                    old.copy_(new)

    def pool(self) -> str:
        return f"pool of {RecordedGraph.made.index(self)}"


@contextmanager
def capturing(graph: RecordedGraph, **options):
    """Stands in for `torch.cuda.graph`."""
    graph.options = options
    with graph:
        yield


def install(monkeypatch) -> list[RecordedGraph]:
    """Put the stand-ins in place; returns the graphs, in the order in which they are made."""
    RecordedGraph.made = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    return RecordedGraph.made


def _flat(value) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [t for item in value for t in _flat(item)] if isinstance(value, (tuple, list)) else []
