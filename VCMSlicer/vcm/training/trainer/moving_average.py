"""The slowly moving average of a network's weights, which samples better than the weights themselves."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class MovingAverage(Generic[Network]):
    """Weights averaged over about 1/(1 − decay) steps, fewer at the start.

    >>> network = nn.Linear(1, 1)
    >>> average = MovingAverage(network, 0.9)
    >>> average.network.weight.equal(network.weight)
    True
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Take in the weights after step `step`, counted from 1; buffers, such as a codebook, are the newest."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.network.parameters()), list(network.parameters()), 1 - decay)
        for own, newest in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(newest)
