"""What the program wrote into a folder, by name and content: a file that was changed since is the user's."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vcm.core.hashing import hash_file
from vcm.core.reading import read_bytes

RECORD = ".vcm-written.jsonl"

MOST_RECORD = 1 << 28
"""Bytes; a line has some hundred, and a folder of a million files has two million lines."""

_known: dict[tuple[int, int, int, int], str] = {}
"""Hashes that this process has computed, by device, inode, size and time of change."""


class Record:
    """The file `.vcm-written.jsonl` of a folder: a line for each file that was put in place, with its SHA-256.

    A line is there before its file is. A damaged line is passed over: its file then counts as the user's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / RECORD
        self._hashes: dict[str, set[str]] = {}
        self._read: tuple[int, int, int] | None = None

    @property
    def exists(self) -> bool:
        """Whether the program has written here before."""
        return self._state() is not None

    def knows(self, name: str, file: Path) -> bool:
        """Whether `file` is what was written under that name."""
        before = None
        while True:
            try:
                content = content_of(file) if file.is_file() and not file.is_symlink() else None
            except OSError:
                return False
            self._refresh()
            if content is None or content in self._hashes.get(name, ()):
                return content is not None
            if content == before:
                return False
            before = content  # another process may have put a new file in place meanwhile: looked at once more

    def has(self, name: str) -> bool:
        """Whether anything was written under that name."""
        self._refresh()
        return name in self._hashes

    def add(self, name: str, file: Path) -> None:
        """Note that the content of `file` goes, or has gone, to `name`; called before it does."""
        content = content_of(file)
        self._refresh()
        if content in self._hashes.get(name, ()):
            return
        self._append(json.dumps({"file": name, "sha256": content}))
        self._hashes.setdefault(name, set()).add(content)

    def tidy(self, names: Iterable[str]) -> None:
        """Keep of these names what is there; only while nobody else writes."""
        before = self._bytes()
        if before is None:
            return
        self._refresh()
        for name in set(names):
            file = self.folder / name
            found = content_of(file) if file.is_file() and not file.is_symlink() else None
            kept = {found} & self._hashes.get(name, set())
            if kept:
                self._hashes[name] = {content for content in kept if content}
            else:
                self._hashes.pop(name, None)
        lines = [
            json.dumps({"file": name, "sha256": content})
            for name in sorted(self._hashes)
            for content in sorted(self._hashes[name])
        ]
        text = "".join(f"{line}\n" for line in lines).encode()
        if not text:
            self.path.unlink(missing_ok=True)
        elif text != before:
            fresh = self.path.with_name(f"{RECORD}.new")
            fresh.write_bytes(text)
            fresh.replace(self.path)
        self._read = None

    def _append(self, line: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self.path, flags, 0o666)
        try:
            up_to_date = self._read is None or os.fstat(descriptor).st_size == self._read[1]
            # What a killed process left without its end must not swallow this line.
            cut = os.lseek(descriptor, 0, os.SEEK_END) > 0 and _last_byte(descriptor) != b"\n"
            data = (b"\n" if cut else b"") + f"{line}\n".encode()
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(descriptor)
            if up_to_date:
                found = os.fstat(descriptor)
                self._read = (found.st_ino, found.st_size, found.st_mtime_ns)
        finally:
            os.close(descriptor)

    def _refresh(self) -> None:
        state = self._state()
        if state == self._read:
            return
        self._hashes = {}
        for line in (self._bytes() or b"").splitlines():
            try:
                entry = json.loads(line)
                self._hashes.setdefault(str(entry["file"]), set()).add(str(entry["sha256"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        self._read = state

    def _bytes(self) -> bytes | None:
        return read_bytes(self.path, MOST_RECORD) if self._state() is not None else None

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _last_byte(descriptor: int) -> bytes:
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1)


def content_of(file: Path) -> str:
    """The SHA-256 of a file, computed once as long as it is not changed."""
    found = file.stat()
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    if key not in _known:
        _known[key] = hash_file(file)
    return _known[key]
