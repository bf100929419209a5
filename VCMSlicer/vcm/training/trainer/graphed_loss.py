"""A loss and its gradient as one CUDA graph: captured once, replayed at every later step.

A step of a small network is a thousand small kernels forth and back, and launching them takes longer than running them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

Tensors = Mapping[str, Tensor]


class Captured(Protocol):
    """What `GraphedLoss` replays: after `replay`, loss, figure and gradients are those of the tensors given."""

    loss: Tensor
    figure: Tensor
    gradients: list[Tensor]

    def replay(self, tensors: Tensors) -> None:
        """Compute with these tensors in place of those before."""


class GraphedLoss:
    """Calls `module`, which makes a loss and a figure for the log from tensors; on an NVIDIA GPU by a CUDA graph.

    The first call with tensors of some shapes is launched as it stands, which also readies CUDA's libraries; the second
    is captured, forth and back, and replayed from then on. The loss can be sent back like any other, once, before the
    next call. What cannot be captured goes on being launched, with a warning. Weights may be overwritten in their
    place, by an optimiser or a checkpoint; `module` must not be given others.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._weights = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
        self._launched: set[Any] = set()
        self._captured: dict[Any, Captured | None] = {}

    def __call__(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """The loss, and the figure without a gradient."""
        captured = self._graph_for(tensors)
        if captured is None:
            loss, figure = self.module(tensors)
        else:
            loss, figure = _Replayed.apply(captured, tensors, *self._weights.values())
        return loss, figure

    def _graph_for(self, tensors: Tensors) -> Captured | None:
        """The graph for tensors of these shapes, from their second call on."""
        kind = tuple((name, tensor.shape, tensor.dtype) for name, tensor in tensors.items())
        if kind in self._launched and kind not in self._captured:
            self._captured[kind] = self._try_to_capture(tensors)
        self._launched.add(kind)
        return self._captured.get(kind)

    def _try_to_capture(self, tensors: Tensors) -> Captured | None:
        if any(tensor.device.type != "cuda" for tensor in tensors.values()):
            return None
        try:
            return _CudaGraph(self.module, self._weights, tensors)
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                f"The training step could not be captured as a CUDA graph, so every step is slower: {reason}",
                RuntimeWarning,
                stacklevel=3,
            )
            return None


class _CudaGraph:
    """The graph, the tensors it reads, and those it writes; they stay where they are."""

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor], tensors: Tensors) -> None:
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        device = next(iter(self.tensors.values())).device
        dtype, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
                # Leaves of the graph's own: the weights' hold on to the stream they were first sent back on.
                leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
                # Weights cast in a capture are in the graph's memory and must not be taken for cast ones outside of it.
                with torch.autocast("cuda", dtype, enabled=enabled, cache_enabled=False):
                    loss, figure = functional_call(module, leaves, (self.tensors,))
                with torch.autocast("cuda", enabled=False):
                    gradients = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        self.loss, self.figure, self.gradients = loss.detach(), figure.detach(), list(gradients)

    def replay(self, tensors: Tensors) -> None:
        for name, tensor in self.tensors.items():
            tensor.copy_(tensors[name])
        self.graph.replay()


class _Replayed(torch.autograd.Function):
    """A loss whose gradient is there already."""

    @staticmethod
    def forward(ctx: Any, captured: Captured, tensors: Tensors, *weights: Tensor) -> tuple[Tensor, Tensor]:
        captured.replay(tensors)
        ctx.captured = captured
        loss, figure = captured.loss.clone(), captured.figure.clone()
        ctx.mark_non_differentiable(figure)
        return loss, figure

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        # New tensors: those of the graph are overwritten by the next replay, and a gradient may be kept or added to.
        return None, None, *torch._foreach_mul(ctx.captured.gradients, upstream[0])
