"""A folder that the program may write into: locked, with the run's inputs and all that is not its own kept safe.

`vcm.outputs.atomic_files` puts no file in place that the claim on its folder does not admit. Where a caller has claimed
no folder, one is claimed for the moment of that write.
"""

from __future__ import annotations

import atexit
import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType

from vcm.core.errors import Code, VcmError
from vcm.outputs.folder_lock import FolderLock
from vcm.outputs.record import RECORD, Record

WORK = ".vcm-work"
"""The hidden folder with the lock and what is half written; it goes when the last process has ended."""
ASIDE, HALF, LOCK = "aside", "half", "lock"
SHORT_WAIT_S = 20.0
"""How long a write waits that claims its folder for a moment only."""


class Mode(Enum):
    """Who else may write into the folder: nobody, others that claim it as shared, or those whom it was claimed for."""

    ALONE = "alone"
    SHARED = "shared"
    MEMBER = "member"
    """A process that works for the one that has claimed the folder; it takes no lock of its own."""


class Claim:
    """A folder that is written into.

    `inputs` are never replaced, by whatever name or link they are reached. Other files are replaced only if the
    program wrote them and they have not been changed since, or with `force`. Files whose names match `state` are the
    program's working state: those it wrote it may write again even when they are damaged. `of_ours` tells of a file in
    a folder without a record, which an earlier version wrote, whether it is the program's own.

    The names of new files reach the disk at once, or with `settled_late` all together in `settle` and at the end: a
    power cut before may then take the last of the files away, in the order in which they came, but leaves none damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        inputs: Iterable[str | Path] = (),
        force: bool = False,
        mode: Mode = Mode.ALONE,
        wait: float = 0.0,
        remedy: str = "Choose another place.",
        state: re.Pattern[str] | None = None,
        of_ours: Callable[[Path], bool] = lambda file: False,
        settled_late: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.root = Path(os.path.realpath(folder))
        self.force, self.mode, self.remedy = force, mode, remedy
        self._wait, self._state, self._of_ours = wait, state, of_ours
        self._inputs = {identity: Path(path) for path in inputs if (identity := _identity(path)) is not None}
        self.record = Record(self.root)
        self._new = not self.record.exists
        self._touched: set[str] = set()
        self._settled_late = settled_late
        self._unsettled: set[Path] = set()

    @property
    def work(self) -> Path:
        """The hidden folder for what is not finished."""
        return self.root / WORK

    def open(self) -> Claim:
        """Make the folder, lock it and clear away what a killed process left half written there."""
        with _guard:
            if self not in _open:
                if self.mode is not Mode.MEMBER:
                    _hold(self)
                    self._new = not self.record.exists
                _open.append(self)
        return self

    def close(self) -> None:
        """Let go of it."""
        try:
            self.settle()
        finally:
            with _guard:
                if self in _open:
                    _open.remove(self)
                    if self.mode is not Mode.MEMBER:
                        _let_go(self)
                    elif not (self.work / LOCK).exists():  # nobody has claimed it otherwise, as where a pack is built
                        _remove_empty([self.work / HALF, self.work])

    def __enter__(self) -> Claim:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def admit(self, *files: str | Path) -> Path:
        """Where the last of these files lies, if all of them may be put in place, replaced or removed."""
        foreign = []
        place = self.root
        for file in files:
            place = _place_of(file)
            if (given := self._input_at(place)) is not None:
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"{given} was given as an input, but what is written to {file} would replace it.",
                    "Write to another place: inputs are never replaced.",
                )
            if os.path.lexists(place) and not place.is_dir() and not (self.force or self.owns(place)):
                foreign.append(Path(file))
        if foreign:
            raise self._not_ours(foreign)
        return place

    def owns(self, file: Path) -> bool:
        """Whether the program wrote what lies there."""
        with _guard:
            name = self.name_of(file)
            if self.record.knows(name, file):
                return True
            if self._state and self._state.fullmatch(file.name) and self.record.has(name) and not file.is_symlink():
                return True
        return self._new and not file.is_symlink() and file.is_file() and self._of_ours(file)

    def temporary(self, place: Path) -> Path:
        """Where a file is written until it is whole; its name ends as that of its place."""
        ending = "".join(suffix[-20:] for suffix in place.suffixes[-2:])
        name = f"{secrets.token_hex(4)}{ending}"
        if self.root == place.parent or place.parent.stat().st_dev == self.root.stat().st_dev:
            folder = self.work / HALF
            folder.mkdir(parents=True, exist_ok=True)
            return folder / name
        return place.with_name(f".{name}")  # a link led to another disk, onto which nothing can be moved

    def put(self, temporary: Path, place: Path) -> None:
        """Move a finished file into its place, and note that it is ours."""
        self.admit(place)
        self._note(place, temporary)
        temporary.replace(place)
        self._unsettled.add(place.parent)
        if not self._settled_late:
            self.settle()

    def settle(self) -> None:
        """Let the names of the files that were put in place reach the disk."""
        folders, self._unsettled = self._unsettled, set()
        for folder in folders:
            _flush_folder(folder)

    def move(self, source: Path, target: Path) -> None:
        """Give a file of ours another name."""
        source, target = self.admit(source), self.admit(target)
        self._note(target, source)
        self._touched.add(self.name_of(source))
        source.replace(target)

    def remove(self, file: Path) -> None:
        """Remove a file of ours, if it is there."""
        place = self.admit(file)
        self._touched.add(self.name_of(place))
        place.unlink(missing_ok=True)

    @property
    def aside(self) -> dict[str, Path]:
        """What was set aside and is there still, by its name."""
        folder = self.work / ASIDE
        return {entry.name: entry for entry in folder.iterdir()} if folder.is_dir() else {}

    def set_aside(self, files: Iterable[Path]) -> None:
        """Move files out of the way, in their order, until it is known whether they are replaced."""
        places = [self.admit(file) for file in files]
        (self.work / ASIDE).mkdir(parents=True, exist_ok=True)
        try:
            for place in places:
                place.rename(self.work / ASIDE / place.name)
        except BaseException:
            self.bring_back(last=places[0].name)
            raise

    def bring_back(self, *, last: str) -> None:
        """Move what was set aside into its place again, the file called `last` after all others."""
        for name, file in sorted(self.aside.items(), key=lambda item: item[0] == last):
            file.rename(self.admit(self.root / name))
        self.forget_aside()

    def forget_aside(self) -> None:
        """Remove what was set aside."""
        shutil.rmtree(self.work / ASIDE, ignore_errors=True)

    def name_of(self, place: Path) -> str:
        """How the record calls a file."""
        return place.relative_to(self.root).as_posix() if place.is_relative_to(self.root) else str(place)

    def holds(self, file: Path) -> bool:
        """Whether a file lies below the claimed folder, as its path is written or by what its links lead to."""
        return _place_of(file).is_relative_to(self.root)

    def _note(self, place: Path, content: Path) -> None:
        name = self.name_of(place)
        self._touched.add(name)
        with _guard:
            self.record.add(name, content)

    def _input_at(self, place: Path) -> Path | None:
        found = _identity(place)
        return next((claim._inputs[found] for claim in (self, *_open) if found in claim._inputs), None)

    def _not_ours(self, files: list[Path]) -> VcmError:
        names = ", ".join(sorted(file.name for file in files))
        if len(files) == 1:
            found = f"There is already a file {files[0]}, and it was not written by this program or was changed since."
        else:
            found = (
                f"The folder {files[0].parent} already holds {names}, which were not written by this program or were "
                "changed since."
            )
        return VcmError(Code.BAD_REQUEST, found, self.remedy)


@dataclass
class _Held:
    """A folder that this process has locked: for how many claims, which folders were made for it, and what of it was
    touched."""

    lock: FolderLock
    made: list[Path]
    count: int = 1
    touched: set[str] = field(default_factory=set)


_open: list[Claim] = []
"""The claims of this process, the latest last."""
_held: dict[Path, _Held] = {}
_guard = threading.RLock()


@contextmanager
def claimed(file: Path) -> Iterator[Claim]:
    """The innermost open claim on the folder of a file, or one for the moment."""
    with _guard:
        found = [claim for claim in reversed(_open) if claim.holds(file)]
        claim = max(found, key=lambda claim: len(claim.root.parts), default=None)
        held = claim is not None and claim.root in _held
        if claim is None:
            claim = Claim(Path(file).parent, wait=SHORT_WAIT_S).open()
        elif held:  # another thread may close it meanwhile
            _hold(claim)
    try:
        yield claim
    finally:
        if not found:
            claim.close()
        elif held:
            with _guard:
                _let_go(claim)


def claim_file(file: str | Path, *, inputs: Iterable[str | Path] = ()) -> Claim:
    """A claim for one file, refused at once where it may not be put in place; nothing is changed until it is opened."""
    claim = Claim(Path(file).parent, inputs=inputs, wait=SHORT_WAIT_S, remedy="Choose another name, or move it away.")
    claim.admit(file)
    return claim


def is_ours(file: Path) -> bool:
    """Whether the program wrote what lies there, and nobody has changed it since."""
    with claimed(file) as claim:
        return claim.owns(_place_of(file))


def remove(file: str | Path) -> None:
    """Remove a file that the program wrote, if it is there."""
    if os.path.lexists(file):
        with claimed(Path(file)) as claim:
            claim.remove(Path(file))


def move(source: Path, target: Path) -> None:
    """Give a file that the program wrote another name in its folder, where it replaces only what is ours too."""
    with claimed(target) as claim:
        claim.move(source, target)


def is_unfinished(folder: Path) -> bool:
    """Whether a process works in a folder, or was killed while it did and left something to clear away."""
    return (folder / WORK).exists()


def entries_of(folder: Path) -> list[Path]:
    """What lies in a folder beside the program's own notes of it."""
    return [entry for entry in folder.iterdir() if entry.name not in (WORK, RECORD)]


def files_below(folder: Path) -> list[Path]:
    """The files in a folder and in those within it, beside the program's own notes of it; links count as files."""
    found = []
    for entry in entries_of(folder):
        found += files_below(entry) if entry.is_dir() and not entry.is_symlink() else [entry]
    return found


def _hold(claim: Claim) -> None:
    if claim.root in _held:
        _held[claim.root].count += 1
        return
    made = [folder for folder in (claim.root, *claim.root.parents) if not folder.exists()]
    claim.root.mkdir(parents=True, exist_ok=True)
    lock, shared = FolderLock(claim.work / LOCK), claim.mode is Mode.SHARED
    try:
        alone = lock.acquire(claim.folder, shared=shared, wait=max(claim._wait, SHORT_WAIT_S if shared else 0.0))
    except BaseException:
        _remove_empty([claim.work, *made])
        raise
    if alone:
        shutil.rmtree(claim.work / HALF, ignore_errors=True)
    _held[claim.root] = _Held(lock, made)


def _let_go(claim: Claim) -> None:
    held = _held[claim.root]
    held.touched |= claim._touched
    held.count -= 1
    if held.count:
        return
    del _held[claim.root]
    if claim.mode is Mode.ALONE:
        with suppress(OSError):
            claim.record.tidy(held.touched)
    if held.lock.release(last=True):
        _remove_empty([claim.work / HALF])
        _remove_empty([claim.work, *held.made])


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, each within the next one, up to the first that holds something."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _place_of(file: str | Path) -> Path:
    """A file's path with the links on the way to it resolved, but not one that it is itself."""
    path = Path(file)
    return Path(os.path.realpath(path.parent)) / path.name


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


@atexit.register
def _close_all() -> None:
    for claim in reversed(_open):
        with suppress(OSError):
            claim.close()
