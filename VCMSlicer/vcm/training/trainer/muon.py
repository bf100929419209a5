"""Muon, an optimiser that makes every step of a weight's matrix equally large in all its directions.

Jordan et al. 2024, with the scale of Liu et al. 2025 (arXiv 2502.16982), by which one learning rate serves its matrices
and the AdamW that moves all else. PyTorch's own takes plain matrices only; here a kernel of a convolution is the matrix
of its output channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vcm.machine.runtime import has_bf16

COEFFICIENTS = 3.4445, -4.7750, 2.0315
"""Of Newton and Schulz's iteration, as Jordan et al. chose them: steep at 0, so that five rounds suffice."""

ROUNDS = 5


class Muon(torch.optim.AdamW):
    """Muon for weights that are matrices, AdamW for biases, norms and the like."""

    def __init__(self, weights: Iterable[nn.Parameter], *, momentum: float = 0.95, **adamw: Any) -> None:
        weights = list(weights)
        groups: list[dict[str, Any]] = [
            {"params": [weight for weight in weights if _is_matrix(weight)], "momentum": momentum},
            {"params": [weight for weight in weights if not _is_matrix(weight)], "momentum": None},
        ]
        super().__init__([group for group in groups if group["params"]], **adamw)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            if group["momentum"] is None:
                continue
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state.update(step=torch.zeros(()), momentum=torch.zeros_like(weight))  # AdamW looks for `step`
                state["step"] += 1
                kept = state["momentum"]
                kept.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(kept, group["momentum"]).flatten(1)
                scale = 0.2 * max(ahead.shape) ** 0.5  # AdamW's usual step, root mean square
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(orthogonal(ahead).view_as(weight), alpha=-group["lr"] * scale)
                weight.grad = None  # AdamW leaves it alone
        return super().step(closure)


def _is_matrix(weight: Tensor) -> bool:
    """Whether it has several rows and several columns; gains of norms may have axes of size 1."""
    return weight.ndim >= 2 and min(weight.flatten(1).shape) > 1


def orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with all its singular values near 1."""
    tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if tall else matrix).to(torch.bfloat16 if has_bf16(matrix.device) else torch.float32)
    wide = wide / (wide.norm() + 1e-7)
    first, second, third = COEFFICIENTS
    for _ in range(ROUNDS):
        square = wide @ wide.T
        wide = first * wide + (second * square + third * square @ square) @ wide
    return (wide.T if tall else wide).to(matrix.dtype)
