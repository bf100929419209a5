"""Initial weights from another run's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vcm.core.errors import Code, VcmError
from vcm.training.trainer.checkpoint import load_last
from vcm.training.trainer.trainer import Listeners


def start_from(start: Path, network: nn.Module, listeners: Listeners) -> None:
    """Initialise `network` with the averaged weights of the run in the folder `start`."""
    state = load_last(start, listeners.say, lambda state: _shapes(state["average"]))
    if state is None:
        raise VcmError(Code.FILE_MISSING, f"There is no checkpoint in {start}.", "Give the folder of a training.")
    own, theirs = network.state_dict(), state["average"]
    if _shapes(own) != _shapes(theirs):
        raise VcmError(
            Code.BAD_REQUEST,
            f"The checkpoint in {start} is of a different network.",
            "Give both the same conditions, variant and network.",
        )
    network.load_state_dict(theirs)


def _shapes(weights: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
