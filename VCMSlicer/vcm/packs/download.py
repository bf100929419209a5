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
from typing import Any, BinaryIO

from vcm import __version__
from vcm.errors import MALFORMED, Code, VcmError
from vcm.packs.disk import file_errors
from vcm.packs.hashing import PIECE, hash_file

PASSING = (408, 425, 429, 500, 502, 503, 504)
OFFLINE = "On a machine without internet, fetch the file elsewhere and give it with --from FILE."
BROKEN_OFF = (OSError, http.client.HTTPException)


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
    timeout: float = 30.0,
    attempts: int = 5,
    pause: float = 1.0,
) -> None:
    """Fetch `url` into `target`, which appears only when its `size` and `digest` (kind, value) are right.

    What arrives is kept in `target.part`; a later call goes on from there if the server still has the same file.
    `progress` hears bytes done and in all. A connection that fails `attempts` times in a row without a new byte is
    given up; between attempts it waits `pause` seconds, each time twice as long. Proxies come from the environment
    unless `proxy` is given.
    """
    opener = _opener(proxy)
    part = target.with_name(target.name + ".part")
    with file_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    failures, before = 0, -1
    while True:
        try:
            _fetch(opener, url, part, size, progress, cancelled, timeout)
            break
        except _BrokenOffError as error:
            have = _size_of(part)
            failures = 1 if have > before else failures + 1
            before = max(before, have)
            if failures >= attempts:
                raise _unreachable(url, str(error)) from error
            _wait(pause * 2 ** (failures - 1), cancelled)
    _check(part, url, size, digest)
    with file_errors(target):
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(target)
        _notes(part).unlink(missing_ok=True)


def check_digest(path: Path, digest: tuple[str, str] | None, size: int | None = None) -> str:
    """What is wrong with a file, as the end of a sentence; empty if size and digest are right or not known."""
    found_size = path.stat().st_size
    if size is not None and found_size != size:
        return f"has {found_size:,} bytes where {size:,} were expected"
    if digest is None:
        return ""
    kind, expected = digest
    found = hash_file(path, kind)
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
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:
            start, total = _begin(answer, part, url, known)
            _refuse_wrong_size(url, size, total)
            _refuse_without_room(part, start, total or size)
            _append(answer, part, start, total, progress, cancelled)
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


def _begin(answer: Any, part: Path, url: str, known: _Part | None) -> tuple[int, int | None]:
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
    answer: Any,
    part: Path,
    start: int,
    total: int | None,
    progress: Callable[[int, int | None], None],
    cancelled: Callable[[], bool],
) -> None:
    done = start
    progress(done, total)
    with _opened(part) as stream:
        stream.seek(start)
        while piece := answer.read1(PIECE):
            with file_errors(part):
                stream.write(piece)
            done += len(piece)
            progress(done, total)
            if cancelled():
                raise VcmError(Code.CANCELLED, "The download was cancelled.", "Start it again to go on from there.")
        with file_errors(part):
            stream.flush()
    if total is not None and done < total:
        raise _BrokenOffError(f"the connection ended after {done:,} of {total:,} bytes")


def _opened(part: Path) -> BinaryIO:
    with file_errors(part):
        return part.open("rb+")


def _check(part: Path, url: str, size: int | None, digest: tuple[str, str] | None) -> None:
    if wrong := check_digest(part, digest, size):
        part.unlink(missing_ok=True)
        _notes(part).unlink(missing_ok=True)
        raise VcmError(
            Code.DOWNLOAD,
            f"What {_host(url)} sent for {part.name.removesuffix('.part')} {wrong}. It was thrown away.",
            "Try again; if it stays so, the file was changed at its source.",
        )


def _opener(proxy: str | None) -> urllib.request.OpenerDirector:
    if proxy is not None and urllib.parse.urlsplit(proxy).scheme not in ("http", "https"):
        raise VcmError(
            Code.BAD_REQUEST, "The proxy must be an address such as http://proxy.hospital.org:3128.", "Check --proxy."
        )
    chosen = {"http": proxy, "https": proxy} if proxy else None
    return urllib.request.build_opener(urllib.request.ProxyHandler(chosen))


def _read_notes(part: Path, url: str) -> _Part | None:
    """What was noted when `part` was begun, if it can be resumed from `url`."""
    try:
        notes = _Part(**json.loads(_notes(part).read_text("utf-8")))
    except MALFORMED:
        return None
    return notes if notes.url == url and notes.validator else None


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if cancelled():
            raise VcmError(Code.CANCELLED, "The download was cancelled.", "Start it again to go on from there.")
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
    meaning = {
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
