"""A web server for tests, on this machine and a free port: ranges, cut connections, changed files, pages, a proxy."""

from __future__ import annotations

import contextlib
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server offers and how it misbehaves; tests change it between and during requests."""

    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    obey_if_range: bool = True
    content_type: str = "application/octet-stream"
    cut_after: list[int] = field(default_factory=list)
    """For each coming request, how many bytes of the body are sent before the connection is cut."""
    statuses: list[int] = field(default_factory=list)
    """For each coming request, a status to answer with instead of the file; 0 is the file."""
    slowly: tuple[int, float] | None = None
    """How many bytes are sent at a time, and for how many seconds the server rests after each."""
    requests: list[dict[str, str]] = field(default_factory=list)
    manner: str = ""
    """How the body is sent: `endless` and without a length, `unmeasured` (without a length), `drip` (a byte each
    twentieth of a second), `silent` after its first half, `drip head` and `silent head` before it, `long` (more than
    its length says), `circle` (redirected to itself), `elsewhere` (redirected to `goal`)."""
    goal: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def url(self, path: str) -> str:
        return f"{self.address}{path}"


class _FileHandler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        site.requests.append({"path": self.path, **dict(self.headers)})
        if site.manner and site.manner not in ("unmeasured", "silent"):
            with suppress(ConnectionError):
                self._misbehave(site.files[self.path])
            self.close_connection = True
            return
        status = site.statuses.pop(0) if site.statuses else 0
        if status or self.path not in site.files:
            self._head(status or 404, {"Content-Length": "0"})
            return
        body, etag = site.files[self.path], site.etags.get(self.path, '"one"')
        headers = {"ETag": etag} if etag else {}
        start = self._start(etag)
        if start >= len(body) > 0:
            self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{len(body)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        length = {} if site.manner == "unmeasured" else {"Content-Length": str(len(body) - start)}
        self._head(206 if start else 200, {**headers, **length})
        sent = body[start:]
        if site.manner == "silent":
            self.wfile.write(sent[: len(sent) // 2])
            site.ended.wait()
            return
        cut = site.cut_after.pop(0) if site.cut_after else len(sent)
        self._send(sent[:cut])
        self.close_connection = True

    def _send(self, body: bytes) -> None:
        begin = 0
        with contextlib.suppress(ConnectionError):
            while self.site.slowly and begin < len(body):
                size, rest = self.site.slowly
                self.wfile.write(body[begin : begin + size])
                begin += size
                time.sleep(rest)
            self.wfile.write(body[begin:])

    def _misbehave(self, body: bytes) -> None:
        site = self.site
        if site.manner in ("circle", "elsewhere"):
            self._head(302, {"Location": site.goal or self.path, "Content-Length": "0"})
        elif site.manner == "silent head":
            site.ended.wait()
        elif site.manner == "drip head":
            self._drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 90)
        elif site.manner == "drip":
            self._head(200, {"Content-Length": str(len(body)), "ETag": '"one"'})
            self._drip(body)
        elif site.manner == "long":
            self._head(200, {"Content-Length": str(len(body))})
            self.wfile.write(body * 3)
        elif site.manner == "endless":
            self._head(200, {"ETag": '"one"'})
            while not site.ended.is_set():
                self.wfile.write(body)

    def _drip(self, body: bytes) -> None:
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.site.ended.wait(0.05):
                return

    def _start(self, etag: str) -> int:
        asked = self.headers.get("Range", "")
        if not asked or not self.site.ranges:
            return 0
        if self.site.obey_if_range and self.headers.get("If-Range") != etag:
            return 0
        return int(asked.removeprefix("bytes=").split("-")[0])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", self.site.content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _ProxyHandler(BaseHTTPRequestHandler):
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self.path, timeout=10) as answer:
            body = answer.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_files(files: dict[str, bytes]) -> Iterator[Site]:
    """Serve `files` by path until the block ends."""
    site = Site(files=dict(files))
    handler = type("Handler", (_FileHandler,), {"site": site})
    with _running(handler) as address:
        site.address = address
        try:
            yield site
        finally:
            site.ended.set()


@contextmanager
def serve_proxy() -> Iterator[tuple[str, list[str]]]:
    """A proxy until the block ends: its address, and the list of what was asked of it."""
    seen: list[str] = []
    with _running(type("Handler", (_ProxyHandler,), {"seen": seen})) as address:
        yield address, seen


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
