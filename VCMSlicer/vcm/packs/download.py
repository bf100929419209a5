"""One file from the web: resumed where it broke off, checked, and put in place whole."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from vcm import __version__
from vcm.core.disk import file_errors
from vcm.core.errors import Code, VcmError
from vcm.core.hashing import hash_file
from vcm.core.reading import read_json
from vcm.core.typed_json import FieldError, read_fields
from vcm.packs.connection import Connection, Head, connected, refuse_if_cancelled, web_opener

PASSING = (408, 425, 429, 500, 502, 503, 504)
OFFLINE = "On a machine without internet, fetch the file elsewhere and give it with --from FILE."
BROKEN_OFF = (OSError, http.client.HTTPException)
MOST_BYTES = 8_000_000_000
"""How much is taken where neither the catalogue nor the server says how much there is."""

LONGEST_SILENCE_S = 60.0
"""How long next to nothing new may come, over all attempts."""

LEAST_GAIN = 30_000
"""Bytes of an attempt that count as something new."""


@dataclass
class _Part:
    """What is known of a file that was begun: enough to see, on resuming, whether the server still has the same."""

    url: str
    validator: str = ""
    total: int | None = None


class _BrokenOffError(Exception):
    """The connection failed in a way that may pass."""


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    digest: tuple[str, str] | None = None,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    proxy: str | None = None,
    timeout: float = 20.0,
    attempts: int = 5,
    pause: float = 1.0,
) -> None:
    """Fetch `url` into `target`, which appears only when its `size` and `digest` (kind, value) are right.

    What arrives is kept in `target.part`; a later call goes on from there if the server still has the same file.
    Never more is taken than `size`, or than the server announced. `progress` hears bytes done and in all; `cancelled`
    is asked ten times a second, whatever the connection does. One that is silent for `timeout` seconds has broken off;
    one that fails `attempts` times in a row or for a minute with next to nothing new is given up, and so is one that
    stays too slow. Between attempts it waits `pause` seconds, each time twice as long. Proxies come from the
    environment unless `proxy` is given.
    """
    opener = web_opener(proxy)
    part = target.with_name(target.name + ".part")
    with file_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    failures, before, heard = 0, -LEAST_GAIN, time.monotonic()
    while True:
        try:
            _fetch(opener, url, part, size, progress, cancelled, timeout)
            break
        except _BrokenOffError as error:
            have = _size_of(part)
            if have >= before + LEAST_GAIN:
                failures, before, heard = 0, have, time.monotonic()
            failures += 1
            if failures >= attempts or time.monotonic() - heard >= LONGEST_SILENCE_S:
                raise _unreachable(url, str(error)) from error
            _wait(pause * 2 ** (failures - 1), cancelled)
    _check(part, url, size, digest, cancelled)
    with file_errors(target):
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
        _notes(part).unlink(missing_ok=True)


def check_digest(
    path: Path,
    digest: tuple[str, str] | None,
    size: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> str:
    """What is wrong with a file, as the end of a sentence; empty if size and digest are right or not known."""
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f"has {found_size:,} bytes where {size:,} were expected"
    if digest is None:
        return ""
    kind, expected = digest
    found = hash_file(path, kind, lambda count: refuse_if_cancelled(cancelled))
    if found == expected:
        return ""
    return f"is another file than expected: its {kind.upper()} begins {found[:12]}, expected was {expected[:12]}"


def _fetch(
    opener: urllib.request.OpenerDirector,
    url: str,
    part: Path,
    size: int | None,
    progress: Callable[[int, int | None], None],
    cancelled: Callable[[], bool],
    timeout: float,
) -> None:
    """One connection: ask for what is missing and append it to `part`."""
    known = _read_notes(part, url)
    have = _size_of(part) if known else 0
    total = known.total if known else None
    if have and have == total:
        return
    headers = {"User-Agent": f"vcm-slicer/{__version__}", "Accept-Encoding": "identity"}
    if known and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
    try:
        with connected(opener, urllib.request.Request(url, headers=headers), timeout, cancelled) as connection:
            start, total = _begin(connection.head(), part, url, known)
            _refuse_wrong_size(url, size, total)
            _refuse_without_room(part, start, total or size)
            _append(connection, part, url, start, total or size, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            _notes(part).unlink(missing_ok=True)
            raise _BrokenOffError("the file on the server has changed") from error
        if error.code in PASSING:
            raise _BrokenOffError(f"the server answered {error.code}") from error
        raise _refused(url, error.code) from error
    except BROKEN_OFF as error:
        _refuse_bad_certificate(url, error)
        reason = getattr(error, "reason", None) or error
        raise _BrokenOffError(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__) from error


def _begin(answer: Head, part: Path, url: str, known: _Part | None) -> tuple[int, int | None]:
    """Where to write the answer, and how long the file will be; a page instead of a file is refused."""
    if answer.headers.get_content_type() == "text/html":
        raise VcmError(
            Code.DOWNLOAD,
            f"{_host(url)} sent a web page instead of the file: it wants a confirmation in the browser, as Google "
            "Drive does for large files, or a login.",
            f"Open {url} in a browser, download the file and give it with --from FILE.",
        )
    validator = answer.headers.get("ETag", "")
    if not validator or validator.startswith("W/"):
        validator = answer.headers.get("Last-Modified", "")
    if answer.status == 206 and known:
        begin, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if begin.startswith(f"{_size_of(part)}-") and validator == known.validator and total == str(known.total):
            return _size_of(part), known.total
        _notes(part).unlink(missing_ok=True)
        raise _BrokenOffError("the file on the server has changed")
    # The whole file comes: on a first request, from a server without ranges, or because the file has changed.
    length = answer.headers.get("Content-Length", "")
    total_bytes = int(length) if length.isdigit() else None
    with file_errors(part):
        part.write_bytes(b"")
        _notes(part).write_text(json.dumps(asdict(_Part(url, validator, total_bytes))), "utf-8")
    return 0, total_bytes


def _append(
    connection: Connection,
    part: Path,
    url: str,
    start: int,
    total: int | None,
    progress: Callable[[int, int | None], None],
) -> None:
    done, most = start, MOST_BYTES if total is None else total
    progress(done, total)
    with _opened(part) as stream:
        stream.seek(start)
        for piece in connection.pieces():
            done += len(piece)
            if done > most:
                raise _too_much(part, url, most)
            with file_errors(part):
                stream.write(piece)
            progress(done, total)
        with file_errors(part):
            stream.flush()
    if total is not None and done < total:
        raise _BrokenOffError(f"the connection ended after {done:,} of {total:,} bytes")


def _too_much(part: Path, url: str, most: int) -> VcmError:
    """The error for a server that sends more than it should; nothing of it is kept."""
    _forget(part)
    return VcmError(
        Code.DOWNLOAD,
        f"{_host(url)} sends more than the {most:,} bytes that {part.name.removesuffix('.part')} may have. "
        "It was thrown away.",
        OFFLINE,
    )


def _forget(part: Path) -> None:
    with file_errors(part):
        part.unlink(missing_ok=True)
        _notes(part).unlink(missing_ok=True)


def _opened(part: Path) -> BinaryIO:
    with file_errors(part):
        return part.open("rb+")


def _check(
    part: Path, url: str, size: int | None, digest: tuple[str, str] | None, cancelled: Callable[[], bool]
) -> None:
    if wrong := check_digest(part, digest, size, cancelled):
        _forget(part)
        raise VcmError(
            Code.DOWNLOAD,
            f"What {_host(url)} sent for {part.name.removesuffix('.part')} {wrong}. It was thrown away.",
            "Try again; if it stays so, the file was changed at its source.",
        )


def _read_notes(part: Path, url: str) -> _Part | None:
    """What was noted when `part` was begun, if it can be resumed from `url`."""
    try:
        notes = read_fields(_Part, read_json(_notes(part)))
    except (VcmError, FieldError):
        return None
    return notes if notes.url == url and notes.validator else None


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        refuse_if_cancelled(cancelled)
        time.sleep(min(left, 0.1))


def _refuse_wrong_size(url: str, size: int | None, total: int | None) -> None:
    if size is not None and total is not None and size != total:
        raise VcmError(
            Code.DOWNLOAD,
            f"{_host(url)} offers {total:,} bytes where {size:,} were expected: the file was changed at its source.",
            OFFLINE,
        )


def _refuse_without_room(part: Path, start: int, total: int | None) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - start > free:
        raise VcmError(
            Code.DISK_FULL,
            f"The download needs {(total - start) / 1e9:.1f} GB more, but {part.parent} has {free / 1e9:.1f} GB free.",
            "Free some space, or move the packs' folder with the environment variable VCM_PACKS.",
        )


def _refuse_bad_certificate(url: str, error: Exception) -> None:
    if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
        raise VcmError(
            Code.DOWNLOAD,
            f"The certificate of {_host(url)} could not be verified, as happens behind proxies that read along.",
            "Ask for your institution's certificate file and name it in the environment variable SSL_CERT_FILE.",
        ) from error


def _refused(url: str, status: int) -> VcmError:
    meaning = dict.fromkeys((301, 302, 303, 307, 308), "sends the request round in a circle, or out of the web") | {
        401: "asks for a login",
        403: "refuses access",
        404: "has no such file",
        407: "is behind a proxy that asks for a login",
    }
    sentence = f"{_host(url)} {meaning.get(status, 'refuses the request')} (HTTP {status}): {url}"
    return VcmError(Code.DOWNLOAD, sentence + ".", OFFLINE)


def _unreachable(url: str, reason: str) -> VcmError:
    sentence = f"{_host(url)} could not be reached, or the connection kept breaking off: {reason}."
    return VcmError(Code.DOWNLOAD, sentence, f"Check the network or set --proxy. {OFFLINE}")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url
