"""Whole folders, such as packs: built beside their place, then exchanged for what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vcm.core.errors import VcmError
from vcm.outputs.claims import SHORT_WAIT_S, Claim, Mode, files_below
from vcm.outputs.folder_lock import FolderLock

NEW, OLD, GONE, LOCK = ".vcm-new-", ".vcm-old-", ".vcm-gone-", ".vcm-lock-"
"""Names that nobody else gives: what lies there is moved and removed."""

_held: dict[Path, FolderLock] = {}


@contextmanager
def alone_with(target: Path, wait: float = SHORT_WAIT_S) -> Iterator[None]:
    """Hold the name `target` against other processes, and put in order what a killed one left of it.

    The lock lies beside it, for the folder itself is exchanged. Within one process it may be held more than once.
    """
    place = _place(target)
    if place in _held:
        yield
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(_beside(place, LOCK))
    lock.acquire(target, wait=wait)
    _held[place] = lock
    try:
        _recover(place)
        yield
    finally:
        del _held[place]
        lock.release(last=True)


@contextmanager
def swapped_folder(
    target: Path,
    *,
    inputs: Iterable[Path] = (),
    force: bool = False,
    remedy: str = "Choose another folder.",
    of_ours: Callable[[Path], bool] = lambda file: False,
) -> Iterator[Path]:
    """An empty folder, of the same name as `target`, which takes its place when the block ends without error.

    What lay there stays until then. Its files that have other names than the new ones are kept; a file of the same
    name that is not the program's own, or an input, is refused.
    """
    place = _place(target)
    with alone_with(target):
        building = _beside(place, NEW)
        inside = building / place.name
        try:
            inside.mkdir(parents=True)
            with Claim(inside, inputs=inputs, mode=Mode.MEMBER):
                yield inside
            if place.is_dir():
                _refuse_a_loss(Claim(place, inputs=inputs, force=force, remedy=remedy, of_ours=of_ours), inside)
            _exchange(place, inside)
        finally:
            shutil.rmtree(building, ignore_errors=True)


def remove_folder(target: Path) -> None:
    """Remove a folder, or a link to one; cut short, it leaves no half of it under its name."""
    with alone_with(target):
        place = _place(target)
        if place.is_symlink():
            place.unlink()
            return
        place.rename(_beside(place, GONE))
        shutil.rmtree(_beside(place, GONE))


def put_in_order(home: Path) -> None:
    """Make the folder `home`; finish or take back what processes that were killed left in it, whatever its name."""
    home.mkdir(parents=True, exist_ok=True)
    for left in home.iterdir():
        for mark in (NEW, OLD, GONE):
            name = left.name.removeprefix(mark)
            if name and name != left.name:
                with suppress(VcmError, OSError), alone_with(home / name, wait=0):
                    pass


def _refuse_a_loss(claim: Claim, fresh: Path) -> None:
    claim.admit(*(claim.root / file.relative_to(fresh) for file in files_below(fresh)))


def _exchange(place: Path, fresh: Path) -> None:
    old = _beside(place, OLD)
    if os.path.lexists(place):
        place.rename(old)
    try:
        fresh.rename(place)
    except OSError:
        if os.path.lexists(old):
            old.rename(place)
        raise
    _recover(place)


def _recover(place: Path) -> None:
    """After a kill: the former folder comes back, or hands what is not ours over to the new one that is in place."""
    old = _beside(place, OLD)
    if os.path.lexists(old):
        if not os.path.lexists(place):
            old.rename(place)
        elif old.is_symlink():
            old.unlink()
        else:
            _hand_over(old, place)
            shutil.rmtree(old, ignore_errors=True)
    for mark in (NEW, GONE):
        shutil.rmtree(_beside(place, mark), ignore_errors=True)


def _hand_over(old: Path, place: Path) -> None:
    claim = Claim(old)
    for file in files_below(old):
        kept = place / file.relative_to(old)
        if not os.path.lexists(kept) and not claim.owns(file):
            kept.parent.mkdir(parents=True, exist_ok=True)
            file.rename(kept)


def _place(target: Path) -> Path:
    path = Path(os.path.abspath(target))  # noqa: PTH100 - resolve() would follow the folder's own link
    return Path(os.path.realpath(path.parent)) / path.name


def _beside(place: Path, mark: str) -> Path:
    return place.with_name(f"{mark}{place.name}")
