"""Small 3-D convolutions through oneDNN, where PyTorch itself would not ask it.

PyTorch (2.13) leaves the convolution of a single small input to a kernel of its own. It measures the size by N·C·D·H,
without the width, and for such inputs its kernel is two to ten times slower (docs/pytorch-slow-conv3d.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALL = 20480
"""Up to so large an N·C·D·H, PyTorch's own kernel is taken."""


class OneDnnConv3d(nn.Conv3d):
    """A convolution that asks oneDNN for small inputs too, where nothing is learnt; else it is as any other."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if isinstance(self.padding, str) or not self._is_for_onednn(input, weight):
            return super()._conv_forward(input, weight, bias)
        return torch.mkldnn_convolution(
            input, weight, bias, list(self.padding), list(self.stride), list(self.dilation), self.groups
        )

    def _is_for_onednn(self, input: Tensor, weight: Tensor) -> bool:
        """Whether PyTorch would take its own kernel though oneDNN could be asked."""
        return (
            input.device.type == "cpu"
            and input.dtype is torch.float32 is weight.dtype
            and input.dim() == 5
            and len(input) == 1 == self.groups
            and input.numel() > 0
            and input.shape[:4].numel() <= SMALL
            and max(weight.shape[2:]) > 1
            and self.padding_mode == "zeros"
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and bool(torch.backends.mkldnn.enabled)
        )


def use_onednn(*networks: nn.Module | None) -> None:
    """Make all 3-D convolutions of networks such as ask oneDNN, where PyTorch was built with it."""
    if not torch.backends.mkldnn.is_available():
        return
    for network in networks:
        for module in network.modules() if network is not None else ():
            if type(module) is nn.Conv3d:
                module.__class__ = OneDnnConv3d
