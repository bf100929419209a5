"""Everything a training needs to resume as if it had never stopped, in one file that is whole or not there.

The checkpoint before the last is kept beside it, in case the last one is damaged. Each file ends in
the SHA-256 of all that stands before, as the comment of its zip archive, so that one changed bit is noticed.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from vcm.core.errors import Code, VcmError, is_out_of_memory
from vcm.core.reading import open_ordinary
from vcm.outputs.atomic_files import atomic_path
from vcm.outputs.claims import Claim, move

CHECKPOINT, FORMER, BEST = "checkpoint.pt", "checkpoint-former.pt", "best.pt"

SEAL = b"vcm-sha256:"
SEAL_SIZE = len(SEAL) + 64
PIECE = 1 << 20


RUN_FILES = re.compile(
    r"(new-)?checkpoint(-former)?\.pt|best\.pt|log\.csv|(settings|about|teaching|finished)\.json|held-out\.md"
    r"|validated-\d+\.(json|png)|(whitening|autoencoder|places|spread)\.safetensors"
)
"""What a training keeps in its folder."""


def claim_run(folder: Path) -> Claim:
    """The folder of a training, for one process alone; what trainings of earlier versions left is taken for ours."""

    def is_of_a_run(file: Path) -> bool:
        return bool(RUN_FILES.fullmatch(file.name)) and (folder / CHECKPOINT).is_file()

    return Claim(folder, remedy="Choose another folder for the training.", state=RUN_FILES, of_ours=is_of_a_run)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors, numbers, text, lists and dicts of these); the file before stays until it is whole."""
    whole = io.BytesIO()  # torch's own writer hides why a disk refused
    torch.save(dict(state), whole)
    view = whole.getbuffer()
    view[-2:] = struct.pack("<H", SEAL_SIZE)  # the length of the comment, which is the last field of the archive
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(view)
        file.write(SEAL + hashlib.sha256(view).hexdigest().encode())


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
                "quota is used up. The checkpoint before it is intact.",
                "Free some space; the same command then resumes from there.",
            ) from error
        raise
    if last.is_file():
        move(last, folder / FORMER)
    move(fresh, last)


def load_last(
    folder: Path, say: Callable[[str], object], take: Callable[[dict[str, Any]], object] = lambda state: None
) -> dict[str, Any] | None:
    """The folder's checkpoint, or the former one where the last is damaged; None where there is no training.

    `take` puts it to use; an error that it raises for a checkpoint counts as damage too.
    """
    there = [path for path in (folder / CHECKPOINT, folder / FORMER) if path.exists()]
    for path in there:
        try:
            state = load_checkpoint(path)
            _taken(path, state, take)
            return state
        except VcmError as error:
            if error.code is not Code.FILE_UNREADABLE or path is there[-1]:
                raise
            say(f"{error.sentence} The one before it is used.")
    return None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint after its checksum was compared; nothing in it is executed.

    One of a version that wrote no checksum is held against the checksums of its archive's parts instead.
    """
    try:
        with open_ordinary(path) as file:
            _check_seal(path, file)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except VcmError as error:
        if error.code is Code.FILE_MISSING:
            raise VcmError(
                Code.FILE_MISSING, f"There is no checkpoint {path}.", "Give the folder of a training."
            ) from None
        raise
    except MemoryError:
        raise
    # Whatever a damaged archive sets off inside the readers, which document none of it, means the same to the user.
    except Exception as error:
        raise unusable(path, "it breaks off or is damaged") from error
    step = state.get("step") if isinstance(state, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise unusable(path, "its step is missing")
    return dict(state)


def best_weights(folder: Path, state: Mapping[str, Any]) -> tuple[int, dict[str, torch.Tensor]]:
    """The step and averaged weights of a training's best validation; the last ones, of its `state`, where there was no
    validation."""
    if (folder / BEST).is_file():
        best = load_checkpoint(folder / BEST)
        return int(best["step"]), dict(best["average"])
    return int(state["step"]), dict(state["average"])


def unusable(path: Path, how: str) -> VcmError:
    """The error for a checkpoint that no training can go on from."""
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} is not a whole checkpoint of a training: {how}.",
        "Start the training again in another folder, or delete this one.",
    )


def _taken(path: Path, state: dict[str, Any], take: Callable[[dict[str, Any]], object]) -> None:
    try:
        take(state)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise unusable(path, "what it holds does not fit this training") from error


def _check_seal(path: Path, file: BinaryIO) -> None:
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - SEAL_SIZE))
    seal = file.read()
    if not seal.startswith(SEAL):
        with zipfile.ZipFile(file) as archive:
            wrong = archive.testzip()
        if wrong:
            raise unusable(path, f"the checksum of its part {wrong} is wrong")
        return
    digest = hashlib.sha256()
    file.seek(0)
    left = size - SEAL_SIZE
    while left and (piece := file.read(min(left, PIECE))):
        digest.update(piece)
        left -= len(piece)
    if digest.hexdigest().encode() != seal[len(SEAL) :]:
        raise unusable(path, "its checksum is wrong")
