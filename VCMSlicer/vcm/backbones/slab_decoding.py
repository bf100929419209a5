"""Decode a latent in slabs: the same image as the plain decoder to rounding, in a fraction of its memory.

Tiling a decoder with GroupNorm leaves seams, because each tile has its own statistics. Here the statistics of each norm
are gathered over the whole volume first; normalisation, activation, upsampling and convolution then go slab by slab
along the first axis with the one-voxel halo a 3×3×3 convolution needs, so nothing is approximated. What stays whole is
one input and one output of each convolution.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.networks.blocks import Convolution, UpSample
from monai.networks.nets import AutoencoderKL
from monai.networks.nets.autoencoderkl import AEKLResBlock
from torch import Tensor, nn
from torch.nn import functional

SLAB_BYTES = 192 * 2**20
"""About how large the temporary tensors of one slab may be."""

Prepare = Callable[[Tensor], Tensor]


@torch.no_grad()
def decode_in_slabs(autoencoder: AutoencoderKL, z: Tensor, slab_bytes: int = SLAB_BYTES) -> Tensor:
    """`autoencoder.decode(z)` with little memory; `z` is `[B, c, x, y, z]`, unscaled."""
    x: Tensor = autoencoder.post_quant_conv(z)
    pending: nn.GroupNorm | None = None
    for block in autoencoder.decoder.blocks:
        if isinstance(block, AEKLResBlock):
            x = _residual(block, x, slab_bytes)
        elif isinstance(block, UpSample):
            x = _convolve(_last_convolution(block), x, slab_bytes, upsample=True)
        elif isinstance(block, nn.GroupNorm):
            pending = block
        elif isinstance(block, Convolution):
            x = _convolve(block.conv, x, slab_bytes, prepare=_normalise(pending, x) if pending else None)
            pending = None
        else:
            x = block(x)
    return x


def _residual(block: AEKLResBlock, x: Tensor, slab_bytes: int) -> Tensor:
    h = _convolve(block.conv1.conv, x, slab_bytes, prepare=_normalise(block.norm1, x, activate=True))
    return _convolve(
        block.conv2.conv,
        h,
        slab_bytes,
        prepare=_normalise(block.norm2, h, activate=True),
        add=x,
        via=block.nin_shortcut,
    )


def _last_convolution(block: UpSample) -> nn.Conv3d:
    return next(module for module in reversed(list(block.modules())) if isinstance(module, nn.Conv3d))


def _convolve(
    conv: nn.Conv3d,
    x: Tensor,
    slab_bytes: int,
    *,
    prepare: Prepare | None = None,
    upsample: bool = False,
    add: Tensor | None = None,
    via: nn.Module | None = None,
) -> Tensor:
    """`conv(prepare(x))`, or of `x` doubled in size, plus `via(add)`, written slab by slab."""
    factor = 2 if upsample else 1
    size = [n * factor for n in x.shape[2:]]
    plane = max(x.shape[1], conv.out_channels) * size[1] * size[2] * x.shape[0] * x.element_size()
    thickness = max(1, min(size[0], slab_bytes // max(plane, 1)))
    result = x.new_empty(x.shape[0], conv.out_channels, *size)
    for low in range(0, size[0], thickness):
        high = min(low + thickness, size[0])
        before, after = int(low > 0), int(high < size[0])
        first = (low - before) // factor
        part = x[:, :, first : (high + after - 1) // factor + 1]
        if prepare:
            part = prepare(part)
        if upsample:
            part = functional.interpolate(part, scale_factor=2.0, mode="nearest")
            start = low - before - first * factor
            part = part[:, :, start : start + high + after - low + before]
        part = functional.pad(part, (0, 0, 0, 0, 1 - before, 1 - after))
        slab = functional.conv3d(part, conv.weight, conv.bias, padding=(0, 1, 1))
        if add is not None and via is not None:
            slab += via(add[:, :, low:high])
        result[:, :, low:high] = slab
    return result


def _normalise(norm: nn.GroupNorm, x: Tensor, activate: bool = False) -> Prepare:
    """GroupNorm with the statistics of the whole of `x`, as a function of one slab."""
    batch, channels = x.shape[:2]
    groups = norm.num_groups
    sums = x.new_zeros(2, batch, groups, dtype=torch.float64)
    for plane in x.split(8, dim=2):
        values = plane.reshape(batch, groups, -1).float()
        sums[0] += values.sum(-1)
        sums[1] += values.square().sum(-1)
    count = x[0].numel() // groups
    mean = sums[0] / count
    scale = (sums[1] / count - mean.square()).clamp(min=0).add(norm.eps).rsqrt()
    weight = norm.weight.double().view(1, groups, -1) * scale[:, :, None]
    bias = norm.bias.double().view(1, groups, -1) - mean[:, :, None] * weight
    a, b = (v.reshape(batch, channels, 1, 1, 1).to(x.dtype) for v in (weight, bias))

    def prepare(part: Tensor) -> Tensor:
        normal = torch.addcmul(b, part, a)
        return functional.silu(normal, inplace=True) if activate else normal

    return prepare
