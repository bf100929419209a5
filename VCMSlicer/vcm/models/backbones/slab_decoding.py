"""Decode a latent in slabs: the same image as the plain decoder to rounding, in a fraction of its memory.

Tiling a decoder with GroupNorm leaves seams, because each tile has its own statistics. Here the statistics of each norm
are gathered over the whole volume first; normalisation, activation, upsampling and convolution then go slab by slab
along the first axis with the one-voxel halo a 3×3×3 convolution needs, so nothing is approximated. What stays whole is
one input and one output of each convolution; the second convolution of a residual block writes over its own input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.blocks import Convolution, SpatialAttentionBlock, UpSample
from monai.networks.nets import AutoencoderKL
from monai.networks.nets.autoencoderkl import AEKLResBlock
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.plane_convolutions import folded

SLAB_BYTES = 64 * 2**20
"""About how large each of the few temporary tensors of one slab may be."""

CPU_SLAB_BYTES = 16 * 2**20
"""On a processor, slabs that stay in its cache decode faster than whole volumes do."""

SLAB_TEMPORARIES = 8
"""How many of them there are at most at one time, with a convolution's own workspace."""

Prepare = Callable[[Tensor], Tensor]
SPACE = (2, 3, 4)


@dataclass(frozen=True)
class Blocks:
    """The classes that a decoder's blocks have, and how those that double its size do it."""

    residual: type[nn.Module] = AEKLResBlock
    upsampling: type[nn.Module] = UpSample
    convolution: type[nn.Module] = Convolution
    mode: str = "nearest"


MONAI_BLOCKS = Blocks()


@torch.no_grad()
def decode_in_slabs(
    autoencoder: AutoencoderKL,
    z: Tensor,
    slab_bytes: int = SLAB_BYTES,
    tensor_cores: bool | None = None,
    kinds: Blocks = MONAI_BLOCKS,
) -> Tensor:
    """`autoencoder.decode(z)` with little memory; `z` is `[B, c, x, y, z]`, unscaled.

    Blocks of other kinds (attention, transposed convolution) run whole. `tensor_cores` is what suits a
    GPU's in half precision, and chosen there: tensors stay in `channels_last_3d`, and a doubling and its convolution
    are eight convolutions with kernels of 2×2×2.
    """
    if tensor_cores is None:
        tensor_cores = z.is_cuda and z.dtype in (torch.float16, torch.bfloat16)
    x: Tensor = autoencoder.post_quant_conv(z)
    if tensor_cores:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    pending: nn.GroupNorm | None = None
    for block in autoencoder.decoder.blocks:
        if isinstance(block, kinds.residual):
            x = _residual(block, x, slab_bytes)
        elif isinstance(block, kinds.upsampling) and (conv := _after_doubling(block, kinds)) is not None:
            at_once = tensor_cores and kinds.mode == "nearest"
            x = _double(conv, x, slab_bytes) if at_once else _convolve(conv, x, slab_bytes, upsample=kinds.mode)
        elif isinstance(block, nn.GroupNorm):
            pending = block
        elif isinstance(block, kinds.convolution):
            prepare = _normalise(pending, x, slab_bytes) if pending else None
            x = _convolve(_only_convolution(block), x, slab_bytes, prepare=prepare)
            pending = None
        else:
            x = block(x)
    return x


def slab_decoding_bytes(
    autoencoder: AutoencoderKL, space: Sequence[int], size: int, slab_bytes: int, kinds: Blocks = MONAI_BLOCKS
) -> int:
    """What `decode_in_slabs` needs at its peak for one latent over `space`, in numbers of `size` bytes; an estimate."""
    planes, voxels = space[0], math.prod(space)
    whole, plane = 0, 0
    for block in autoencoder.decoder.blocks:
        held = _held(block, voxels, kinds)
        if isinstance(block, kinds.upsampling):
            planes, voxels = 2 * planes, 8 * voxels
        whole = max(whole, held)
        plane = max(plane, held // planes)
    return size * whole + SLAB_TEMPORARIES * max(slab_bytes, size * plane)


def _held(block: Any, voxels: int, kinds: Blocks) -> int:
    """How many elements of a block's tensors are there at one time, over so many voxels on the way in."""
    if isinstance(block, kinds.residual):
        return (int(block.in_channels) + int(block.out_channels)) * voxels  # type: ignore[arg-type]
    if isinstance(block, SpatialAttentionBlock):
        return 8 * int(block.norm.num_channels) * voxels + 3 * int(block.attn.num_heads) * voxels**2
    if isinstance(block, (kinds.upsampling, kinds.convolution)):
        conv = next(m for m in block.modules() if isinstance(m, (nn.Conv3d, nn.ConvTranspose3d)))
        return (conv.in_channels + conv.out_channels * (8 if isinstance(block, kinds.upsampling) else 1)) * voxels
    return 0


def _residual(block: Any, x: Tensor, slab_bytes: int) -> Tensor:
    first, second = _only_convolution(block.conv1), _only_convolution(block.conv2)
    h = _convolve(first, x, slab_bytes, prepare=_normalise(block.norm1, x, slab_bytes, activate=True))
    prepare = _normalise(block.norm2, h, slab_bytes, activate=True)
    return _convolve(second, h, slab_bytes, prepare=prepare, add=x, via=block.nin_shortcut, in_place=True)


def _only_convolution(block: nn.Module) -> nn.Conv3d:
    return next(module for module in block.modules() if isinstance(module, nn.Conv3d))


def _after_doubling(block: nn.Module, kinds: Blocks) -> nn.Conv3d | None:
    """The convolution that follows a doubling in the way of these kinds; None where there is another way."""
    if kinds.mode == "nearest" and isinstance(block, UpSample):
        return convolution_after_nearest(block)
    return next((module for module in block.modules() if isinstance(module, nn.Conv3d)), None)


def convolution_after_nearest(block: UpSample) -> nn.Conv3d | None:
    """The convolution that follows a doubling by nearest neighbours; None for any other way of upsampling."""
    layers = list(block.children())
    if len(layers) != 2 or not isinstance(layers[0], nn.Upsample) or layers[0].mode != "nearest":
        return None
    return next((m for m in layers[1].modules() if isinstance(m, nn.Conv3d)), None)


def _convolve(
    conv: nn.Conv3d,
    x: Tensor,
    slab_bytes: int,
    *,
    prepare: Prepare | None = None,
    upsample: str = "",
    add: Tensor | None = None,
    via: nn.Module | None = None,
    in_place: bool = False,
) -> Tensor:
    """`conv(prepare(x))`, or of `x` doubled in size by `upsample`, plus `via(add)`, written slab by slab.

    With `in_place` the result takes the place of `x`, whose channels must be as many.
    """
    factor = 2 if upsample else 1
    size = [n * factor for n in x.shape[2:]]
    plane = max(x.shape[1], conv.out_channels) * size[1] * size[2] * x.shape[0] * x.element_size()
    thickness = max(1, min(size[0], slab_bytes // max(plane, 1)))
    layout = _layout(x)
    weight = conv.weight.contiguous(memory_format=layout)
    shape = (x.shape[0], conv.out_channels, *size)
    result = x if in_place else torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
    overwritten = x[:, :, :0]
    for low in range(0, size[0], thickness):
        high = min(low + thickness, size[0])
        before, after = int(low > 0), int(high < size[0])
        margin = 1 if upsample == "trilinear" else 0  # planes that the ends of a doubled slab are interpolated from
        first = max(0, (low - before) // factor - margin)
        part = x[:, :, first : (high + after - 1) // factor + 1 + margin]
        if in_place:
            last_plane = x[:, :, high - 1 : high].clone()
            part = torch.cat([overwritten, part[:, :, before:]], dim=2)
            overwritten = last_plane
        if prepare:
            part = prepare(part)
        if upsample:
            part = functional.interpolate(part, scale_factor=2.0, mode=upsample)
            start = low - before - first * factor
            part = part[:, :, start : start + high + after - low + before]
        part = functional.pad(part, (0, 0, 0, 0, 1 - before, 1 - after))
        part = part.contiguous(memory_format=layout)
        slab = functional.conv3d(part, weight, conv.bias, padding=(0, 1, 1))
        if add is not None and via is not None:
            slab += via(add[:, :, low:high])
        result[:, :, low:high] = slab
    return result


def _double(conv: nn.Conv3d, x: Tensor, slab_bytes: int) -> Tensor:
    """`conv` of `x` doubled in size, by kernels of which each makes every eighth voxel."""
    batch, channels, planes, rows, columns = x.shape
    layout = _layout(x)
    kernels = {
        (i, j, k): kernel.to(x.dtype).contiguous(memory_format=layout)
        for i, halves in enumerate(folded(conv.weight.float(), 2))
        for j, quarters in enumerate(folded(halves, 3))
        for k, kernel in enumerate(folded(quarters, 4))
    }
    shape = (batch, conv.out_channels, 2 * planes, 2 * rows, 2 * columns)
    result = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
    thickness = max(1, slab_bytes // (batch * max(channels, conv.out_channels) * rows * columns * x.element_size()))
    for low in range(0, planes, thickness):
        high = min(low + thickness, planes)
        part = x[:, :, max(low - 1, 0) : high + 1]
        part = functional.pad(part, (1, 1, 1, 1, int(low == 0), int(high == planes)))
        for (i, j, k), kernel in kernels.items():
            seen = part[:, :, i : i + high - low + 1, j : j + rows + 1, k : k + columns + 1]
            made = functional.conv3d(seen.contiguous(memory_format=layout), kernel, conv.bias)
            result[:, :, 2 * low + i : 2 * high : 2, j::2, k::2] = made
    return result


def _layout(x: Tensor) -> torch.memory_format:
    """The order of the axes in memory; what both orders describe counts as the usual one."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if last else torch.contiguous_format


def _normalise(norm: nn.GroupNorm, x: Tensor, slab_bytes: int, activate: bool = False) -> Prepare:
    """GroupNorm with the statistics of the whole of `x`, as a function of one slab; computed in fp32."""
    mean, variance = (v.repeat_interleave(x.shape[1] // norm.num_groups, 1) for v in _statistics(norm, x, slab_bytes))
    a = norm.weight.float() * (variance + norm.eps).rsqrt()
    b = norm.bias.float() - mean * a
    a, b = (v[:, :, None, None, None] for v in (a, b))

    def prepare(part: Tensor) -> Tensor:
        normal = torch.addcmul(b, part, a)
        return (functional.silu(normal, inplace=True) if activate else normal).to(part.dtype)

    return prepare


def _statistics(norm: nn.GroupNorm, x: Tensor, slab_bytes: int) -> tuple[Tensor, Tensor]:
    """Mean and variance `[B, groups]` of `x` in fp32, merged from slabs (Chan et al.) so that nothing cancels."""
    planes = max(1, slab_bytes // max(1, x[:, :, 0].numel() * x.element_size()))
    counts, means, squares = [], [], []
    for part in x.split(planes, dim=2):
        mean = part.mean(SPACE, keepdim=True, dtype=torch.float32)
        counts.append(part[0, 0].numel())
        means.append(mean.flatten(1))
        squares.append(torch.linalg.vector_norm(part - mean, dim=SPACE).square())
    batch, channels = x.shape[:2]
    grouped = (len(counts), batch, norm.num_groups, channels // norm.num_groups)
    # All slabs but the last are of one size; so no numbers are copied to a GPU, which would wait for them.
    total = sum(counts) * grouped[-1]
    weight = x.new_full((len(counts), 1, 1, 1), counts[0] / total, dtype=torch.float32)
    weight[-1].fill_(counts[-1] / total)
    each = torch.stack(means).view(grouped)
    mean = (weight * each).sum((0, 3))
    within = torch.stack(squares).view(grouped).sum((0, 3)) / (sum(counts) * grouped[-1])
    return mean, within + (weight * (each - mean[:, :, None]).square()).sum((0, 3))
