"""Everything a training needs to go on as if it had never stopped, in one file that is whole or not there.

The checkpoint before the last is kept beside it, for the day on which a disk has spoilt the last one.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from vcm.atomic_files import atomic_path
from vcm.errors import Code, VcmError

CHECKPOINT, FORMER, BEST = "checkpoint.pt", "checkpoint-former.pt", "best.pt"


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of these); the file before stays until it is whole."""
    whole = io.BytesIO()  # torch's own writer hides why a disk refused
    torch.save(dict(state), whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())


def save_in_turn(folder: Path, state: Mapping[str, Any]) -> None:
    """Put `state` in place as the folder's checkpoint; the one before becomes the former one."""
    fresh, last = folder / f"new-{CHECKPOINT}", folder / CHECKPOINT
    try:
        save_checkpoint(fresh, state)
    except VcmError as error:
        if error.code is Code.DISK_FULL and last.is_file():
            raise VcmError(
                Code.DISK_FULL,
                f"The checkpoint of step {state['step']} could not be written to {folder}: the disk is full or its "
                "quota is used up. The checkpoint before it is whole.",
                "Free some space; the same command then goes on from there.",
            ) from error
        raise
    if last.is_file():
        last.replace(folder / FORMER)
    fresh.replace(last)


def load_last(folder: Path, say: Callable[[str], object]) -> dict[str, Any] | None:
    """The folder's checkpoint, or the former one where the last is damaged; None where no training was begun."""
    there = [path for path in (folder / CHECKPOINT, folder / FORMER) if path.is_file()]
    for path in there[:-1]:
        try:
            return load_checkpoint(path)
        except VcmError as error:
            say(f"{error.sentence} The one before it is used.")
    return load_checkpoint(there[-1]) if there else None


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
