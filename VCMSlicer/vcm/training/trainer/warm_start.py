"""Initial weights from another run's checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.packs.store import Pack
from vcm.training.trainer.checkpoint import load_last
from vcm.training.trainer.trainer import Listeners
from vcm.volumes.orientation import axes_along


def start_from(start: Path, network: nn.Module, listeners: Listeners) -> None:
    """Initialise `network` with the averaged weights of the run in the folder `start`."""
    state = load_last(start, listeners.say, lambda state: _shapes(state["average"]))
    if state is None:
        raise VcmError(Code.FILE_MISSING, f"There is no checkpoint in {start}.", "Give the folder of a training.")
    begin_with(state["average"], network, f"The checkpoint in {start}")


def begin_with(weights: Mapping[str, Tensor], network: nn.Module, whose: str) -> None:
    """Initialise `network` with `weights`; a codebook, which is no weight, may be new."""
    own = network.state_dict()
    new = {name for name, _ in network.named_buffers() if name.startswith("codebook.")} - set(weights)
    if _shapes({name: tensor for name, tensor in own.items() if name not in new}) != _shapes(weights):
        raise VcmError(
            Code.BAD_REQUEST,
            f"{whose} is of a different network.",
            "Give both the same conditions, variant and network.",
        )
    network.load_state_dict({**own, **weights})


def turned(weights: Mapping[str, Tensor], theirs: Grid, own: Grid) -> dict[str, Tensor]:
    """Weights of 3-D convolutions on the Grid `theirs`, for one whose axes come in another order.

    No axis is reversed: heads are nearly alike on both sides, and a kernel with a stride has no mirror image.
    """
    order = [2 + axis for axis in axes_along(theirs.orientation, own.orientation)]
    return {name: w.permute(0, 1, *order).contiguous() if w.ndim == 5 else w for name, w in weights.items()}


def say_storage(pack: Pack, roles: Collection[str], listeners: Listeners) -> None:
    """Say which of a pack's networks that a training begins with are stored in 8 bits."""
    eight = [role for role in roles if pack.manifest.files[role].eight_bits]
    if eight:
        listeners.say(f"The pack {pack.name} has weights in 8 bits per channel: {', '.join(eight)}.")


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
