"""Decode on a processor in fp32: MONAI's AutoencoderKL in slabs, to rounding, in about half the time of its own code.

The slabs' axis comes first, so that each plane is a 2-D image and the convolutions need fewer multiplications
(`plane_convolutions`). Statistics of GroupNorm are gathered while a slab is still in the cache. As in `slab_decoding`,
one input and one output of each convolution are whole, and the second of a residual block writes over its own input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from monai.networks.blocks import Convolution, UpSample
from monai.networks.nets import AutoencoderKL
from monai.networks.nets.autoencoderkl import AEKLResBlock
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.plane_convolutions import TILE, Convolve, convolution, doubling_convolution
from vcm.models.backbones.slab_decoding import convolution_after_nearest

LARGE_MEAN = 30.0
"""A mean square so many times the variance is too large for the variance to be found by taking the squared mean off."""

Fill = Callable[[Tensor, Tensor], None]
"""`fill(planes, target)`: what a convolution sees of planes, written to a target of the same size."""


def decodes_in_planes(autoencoder: nn.Module, z: Tensor) -> bool:
    """Whether `decode_in_planes` is for this network, number format and device, and nothing is to be learnt."""
    return (
        isinstance(autoencoder, AutoencoderKL)
        and z.device.type == "cpu"
        and z.dim() == 5
        and z.dtype is torch.float32
        and all(parameter.dtype is torch.float32 for parameter in autoencoder.decoder.parameters())
        and not torch.is_autocast_enabled("cpu")
    )


@torch.no_grad()
def decode_in_planes(autoencoder: AutoencoderKL, z: Tensor, slab_bytes: int) -> Tensor:
    """`autoencoder.decode(z)` for `z` `[B, c, x, y, z]`; blocks of other kinds than BrainLDM's run as they are."""
    return torch.cat([_decode_one(autoencoder, one[None], slab_bytes) for one in z])


def _decode_one(autoencoder: AutoencoderKL, z: Tensor, slab_bytes: int) -> Tensor:
    x = _Planes.of(autoencoder.post_quant_conv(z))
    norm: nn.GroupNorm | None = None
    for block in autoencoder.decoder.blocks:
        if isinstance(block, AEKLResBlock) and _is_plain(block.conv1) and _is_plain(block.conv2):
            x = _residual(block, x, slab_bytes)
        elif isinstance(block, UpSample) and (conv := convolution_after_nearest(block)) is not None:
            x = _convolve(conv, x, slab_bytes, doubling=True)
        elif isinstance(block, nn.GroupNorm):
            norm = block
        elif isinstance(block, Convolution) and _is_plain(block):
            x = _convolve(block.conv, x, slab_bytes, fill=_normalise(norm, x) if norm else None)
            norm = None
        else:
            x = _Planes.of(block(norm(x.volume) if norm else x.volume))
            norm = None
    return x.volume


@dataclass(frozen=True, eq=False)
class _Planes:
    """A volume as planes `[planes, channels, rows, columns]`, and the sums of its channels."""

    values: Tensor
    sums: _Sums

    @classmethod
    def of(cls, volume: Tensor) -> _Planes:
        values = volume[0].transpose(0, 1).contiguous()
        sums = _Sums()
        for plane in values.split(1):
            sums.add(plane)
        return cls(values, sums)

    @property
    def volume(self) -> Tensor:
        """`[1, channels, planes, rows, columns]`."""
        return self.values.transpose(0, 1)[None].contiguous()


class _Sums:
    """Sum and sum of squares of each channel `[channels]`, in double precision."""

    def __init__(self) -> None:
        self.values: Tensor | float = 0.0
        self.squares: Tensor | float = 0.0

    def add(self, planes: Tensor) -> None:
        flat = planes.flatten(2)
        self.values = self.values + flat.sum(2).double().sum(0)
        self.squares = self.squares + torch.linalg.vector_norm(flat, dim=2).double().square_().sum(0)


def _is_plain(block: Convolution) -> bool:
    """Whether it is a convolution of 3×3×3 voxels and nothing else, with zeros beyond the border."""
    conv = block.conv
    return (
        isinstance(conv, nn.Conv3d)
        and len(list(block.children())) == 1
        and (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3,) * 3, (1,) * 3, (1,) * 3, (1,) * 3)
        and (conv.groups, conv.padding_mode) == (1, "zeros")
    )


def _residual(block: AEKLResBlock, x: _Planes, slab_bytes: int) -> _Planes:
    h = _convolve(block.conv1.conv, x, slab_bytes, fill=_normalise(block.norm1, x, activate=True))
    fill = _normalise(block.norm2, h, activate=True)
    shortcut = None if isinstance(block.nin_shortcut, nn.Identity) else block.nin_shortcut.conv
    return _convolve(block.conv2.conv, h, slab_bytes, fill=fill, add=x.values, shortcut=shortcut, in_place=True)


def _convolve(
    conv: nn.Conv3d,
    x: _Planes,
    slab_bytes: int,
    *,
    fill: Fill | None = None,
    doubling: bool = False,
    add: Tensor | None = None,
    shortcut: nn.Conv3d | None = None,
    in_place: bool = False,
) -> _Planes:
    """`conv` of what `fill` makes of x, or of x doubled in size, plus `shortcut(add)`; over x itself if `in_place`."""
    planes, _, rows, columns = x.values.shape
    factor = 2 if doubling else 1
    convolve: Convolve = doubling_convolution(conv.weight) if doubling else convolution(conv.weight, planes)
    shape = (factor * planes, conv.out_channels, factor * rows, factor * columns)
    result = x.values if in_place else x.values.new_empty(shape)
    sums = _Sums()
    plane_bytes = 4 * max(conv.in_channels, conv.out_channels * factor**3) * rows * columns
    thickness = slab_bytes // 2 // plane_bytes
    thickness = max(1, thickness) if doubling else max(1, thickness // TILE) * TILE
    for low, high, slab in _slabs(x.values, thickness, fill or _copy):
        made = result[factor * low : factor * high]
        convolve(slab, made)
        if conv.bias is not None:
            made += conv.bias[:, None, None]
        if add is not None:
            part = add[low:high]
            made += part if shortcut is None else functional.conv2d(part, shortcut.weight[:, :, 0], shortcut.bias)
        sums.add(made)
    return _Planes(result, sums)


def _copy(planes: Tensor, target: Tensor) -> None:
    target.copy_(planes)


def _slabs(x: Tensor, thickness: int, fill: Fill) -> Iterator[tuple[int, int, Tensor]]:
    """First plane, plane after the last, and a slab's filled planes with one more before and after, zero at the ends.

    A slab's own planes are not read again after it was given, so that they may be written over.
    """
    planes = len(x)
    thickness = min(thickness, planes)
    slab = x.new_zeros(thickness + 2, *x.shape[1:])
    for low in range(0, planes, thickness):
        high = min(low + thickness, planes)
        if low:
            slab[0] = slab[thickness]
        seen = x[low : high + 1]
        fill(seen, slab[1 : 1 + len(seen)])
        if high == planes:
            slab[1 + high - low] = 0
        yield low, high, slab[: high - low + 2]


def _normalise(norm: nn.GroupNorm, x: _Planes, activate: bool = False) -> Fill:
    """GroupNorm over the whole of x, and SiLU after it if `activate`."""
    mean, variance = (v.repeat_interleave(norm.num_channels // norm.num_groups) for v in _moments(norm.num_groups, x))
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    a, b = (v.to(x.values.dtype)[:, None, None] for v in (scale, shift))

    def fill(planes: Tensor, target: Tensor) -> None:
        torch.addcmul(b, planes, a, out=target)
        if activate:
            functional.silu(target, inplace=True)

    return fill


def _moments(groups: int, x: _Planes) -> tuple[Tensor, Tensor]:
    """Mean and variance `[groups]` in double precision."""
    count = x.values.numel() // groups
    mean, square = (torch.as_tensor(v).view(groups, -1).sum(1) / count for v in (x.sums.values, x.sums.squares))
    variance = square - mean.square()
    if bool((square > LARGE_MEAN * variance).any()):
        variance = _variance_about(mean, x.values)
    return mean, variance.clamp(min=0)


def _variance_about(mean: Tensor, values: Tensor) -> Tensor:
    """The variance of groups of channels where the mean is large beside it: of what lies about the mean."""
    total, squares = torch.zeros_like(mean), torch.zeros_like(mean)
    about = mean.to(values.dtype)[None, :, None]
    for plane in values.split(1):
        rest = plane.reshape(1, len(mean), -1) - about
        total += rest.sum((0, 2)).double()
        squares += torch.linalg.vector_norm(rest, dim=(0, 2)).double().square()
    count = values.numel() // len(mean)
    return squares / count - (total / count).square()
