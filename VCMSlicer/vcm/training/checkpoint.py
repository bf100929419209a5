"""Everything a training needs to go on as if it had never stopped, in one file that is whole or not there."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vcm.atomic_files import atomic_path
from vcm.errors import Code, VcmError


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of these); the file before stays until it is whole."""
    whole = io.BytesIO()  # torch's own writer hides why a disk refused
    torch.save(dict(state), whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise VcmError(
            Code.FILE_MISSING, f"There is no checkpoint {path}.", "Give the folder of a training that was begun."
        ) from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is not a whole checkpoint of a training.",
            "Start the training again in another folder.",
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} holds no training.")
    return state
