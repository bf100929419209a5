"""Weights as 8-bit integers with one scale for each output channel, in the files of packs.

A tensor `w` is stored as int8 under its name, and beside it, as `w:scale`, one positive fp32 number for each channel:
w ≈ integer · scale, with integers −127…127, so that 0 stays 0 and both signs are treated alike. The scale has as many
axes as the tensor and is 1 long in all but the channels' one. Everything else in such a file is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SCALE = ":scale"
"""What is added to a tensor's name for its scale; no network can have a weight of such a name."""
MOST = 127
LARGEST_ERROR = 0.02
"""Relative RMS error above which a tensor is left as it was; weights spread like a Gaussian lose 0.6 to 0.9 %."""


@dataclass
class Rounded:
    """A file's tensors as they are stored, and the relative RMS `errors` of those in 8 bits, by name.

    `kept` are those that would have lost more than `LARGEST_ERROR`.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)


def encode(state: Mapping[str, torch.Tensor], axes: Mapping[str, int]) -> Rounded:
    """Round the tensors that `axes` names to 8 bits, each channel along that axis by a scale of its own.

    Tensors that it does not name, those that lose too much and those that would not become smaller stay as they are.
    """
    rounded = Rounded()
    for name, tensor in state.items():
        rounded.tensors[name] = tensor
        if name not in axes or not tensor.is_floating_point():
            continue
        integers, scale = _round(tensor, axes[name])
        if integers.numel() + 4 * scale.numel() >= tensor.numel() * tensor.element_size():
            continue
        error = relative_error(tensor, integers.float() * scale)
        if error > LARGEST_ERROR:
            rounded.kept.append(name)
            continue
        rounded.tensors |= {name: integers, name + SCALE: scale}
        rounded.errors[name] = error
    return rounded


def decode(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file's tensors with those in 8 bits in fp32; a ValueError says what of a scale is wrong.

    >>> import torch
    >>> stored = {"w": torch.tensor([[-127, 4], [0, 127]], dtype=torch.int8), "w:scale": torch.tensor([[0.5], [2.0]])}
    >>> decode(stored)["w"].tolist()
    [[-63.5, 2.0], [0.0, 254.0]]
    """
    import torch

    plain = {}
    for name, tensor in state.items():
        if name.endswith(SCALE):
            whole = state.get(name.removesuffix(SCALE))
            if whole is None or whole.dtype is not torch.int8:
                raise ValueError(f"“{name}” is the scale of a tensor that is not there in 8 bits")
        elif tensor.dtype is torch.int8:
            if (scale := state.get(name + SCALE)) is None:
                raise ValueError(f"the tensor “{name}” is stored in 8 bits, and its scale is missing")
            if fault := _fault(tensor, scale):
                raise ValueError(f"the scale of the tensor “{name}” {fault}")
            plain[name] = tensor.float() * scale.float()
        else:
            plain[name] = tensor
    return plain


def relative_error(tensor: torch.Tensor, other: torch.Tensor) -> float:
    """The RMS of the difference over the RMS of the tensor; 0 where they are the same."""
    reference = tensor.double()
    lost = float((other.double() - reference).norm())
    return lost / float(reference.norm()) if lost else 0.0


def _round(tensor: torch.Tensor, axis: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    others = [other for other in range(tensor.ndim) if other != axis]
    scale = tensor.float().abs().amax(dim=others, keepdim=True) / MOST
    scale = torch.where(scale > 0, scale, 1.0).clamp(min=torch.finfo(torch.float32).tiny)
    return (tensor.float() / scale).round().clamp(-MOST, MOST).to(torch.int8), scale


def _fault(tensor: torch.Tensor, scale: torch.Tensor) -> str:
    """What is wrong with a scale; empty if nothing is."""
    shapes = [
        tuple(length if own == axis else 1 for own, length in enumerate(tensor.shape))
        for axis in range(min(2, tensor.ndim))
    ]
    if tensor.ndim < 2 or not scale.is_floating_point() or tuple(scale.shape) not in shapes:
        found = " × ".join(map(str, scale.shape)) or "single"
        return f"does not fit: {found} numbers of {scale.dtype} for a tensor of {' × '.join(map(str, tensor.shape))}"
    if not bool(((scale.float() > 0) & (scale.float() < float("inf"))).all()):
        return "holds numbers that are not positive and finite"
    return ""
