"""A lock of the operating system on a folder: it ends with its process, however that ends."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_json

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What file systems answer that have no locks; there, folders are written without one."""
BUSY = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
PAUSE_S = 0.05
TRIES = 1000


SUBCOMMANDS = {
    *("generate", "doctor", "evaluate", "bench", "teach", "packs", "cohort", "train", "register"),
    *("import", "get", "remove", "make", "control", "denoiser", "autoencoder", "segmenter", "export"),
}
"""What of a command line may be shown to others: words of the program's own."""


class InUseError(VcmError):
    """Another process writes there."""


class FolderLock:
    """The lock of the file `path`, which exists as long as anybody holds it, and says who does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, folder: Path, *, shared: bool = False, wait: float = 0.0) -> bool:
        """Take the lock, waiting up to `wait` seconds; what is refused names the process that holds it.

        Returns whether it was taken alone, so that what lies in the folder belongs to nobody else.
        """
        end = time.monotonic() + wait
        while True:
            if self._try(shared=False):
                if shared:
                    _lock(self._held, shared=True)
                else:
                    self._sign()
                return True
            if shared and self._try(shared=True):
                return False
            if time.monotonic() >= end:
                raise self._in_use(folder)
            time.sleep(PAUSE_S)

    def release(self, *, last: bool) -> bool:
        """Let go; `last` removes the file too. Returns whether that was done: never while others share the lock."""
        descriptor, self._descriptor = self._held, None
        try:
            alone = last and _lock(descriptor, shared=False)
            if alone:
                with suppress(OSError):
                    self.path.unlink()
            return alone
        finally:
            os.close(descriptor)

    @property
    def _held(self) -> int:
        assert self._descriptor is not None, f"{self.path} is not locked"
        return self._descriptor

    def _try(self, *, shared: bool) -> bool:
        for _ in range(TRIES):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
            except FileNotFoundError:  # who held the lock has just removed the folder of its file
                continue
            try:
                locked = _lock(descriptor, shared=shared)
                if locked and _is(descriptor, self.path):
                    self._descriptor = descriptor
                    return True
            finally:
                if self._descriptor != descriptor:
                    os.close(descriptor)
            if not locked:
                return False
        raise OSError(errno.EAGAIN, "its lock changes all the time", str(self.path))

    def _sign(self) -> None:
        who = {"process": os.getpid(), "host": socket.gethostname(), "command": _command(), "since": time.time()}
        with suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(self._held, 0)
            os.lseek(self._held, 0, os.SEEK_SET)
            os.write(self._held, json.dumps(who).encode())

    def _in_use(self, folder: Path) -> InUseError:
        return InUseError(
            Code.BAD_REQUEST,
            f"{folder} is being written by another process{self._holder()}.",
            "Wait until it has ended, end it, or choose another place.",
        )

    def _holder(self) -> str:
        try:
            who = read_json(self.path)
            since = time.strftime("%H:%M", time.localtime(float(who["since"])))
            host = str(who["host"])
            where = "" if host == socket.gethostname() else f" on {host}"
            return f": {who['command']!s}, process {int(who['process'])}{where}, since {since}"
        except (VcmError, OSError, ValueError, KeyError, TypeError, OverflowError):
            return ""


def _command() -> str:
    """The program and its subcommand, without what the user gave them."""
    started = Path(sys.argv[0] if sys.argv else "")
    if started.name == "__main__.py":  # python -m vcm, or vcm.worker
        return "vcm worker" if started.parent.name == "worker" else "vcm"
    if started.stem != "vcm":
        return "Python"
    words = [word for word in sys.argv[1:3] if word in SUBCOMMANDS]
    return " ".join(["vcm", *words])


def _is(descriptor: int, path: Path) -> bool:
    """Whether the file that was opened is still the one of that name: who held it before may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


if os.name == "nt":  # pragma: no cover
    import msvcrt

    _FAR = 1 << 30
    """Windows keeps others from reading what is locked, so a byte behind the text is."""

    def _lock(descriptor: int, *, shared: bool) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        with suppress(OSError):  # Windows knows no shared lock here; the one before is given back
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        if shared:
            return True
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError as error:
            if error.errno in BUSY:
                return False
            raise
        return True

else:
    import fcntl

    def _lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                return False
            if error.errno not in NO_LOCKS:
                raise
        return True
