"""A client of the worker for tests: every wait is bounded, and the process is ended by its id."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from vcm.protocol import Accepted, LineDecoder, Message, encode

SCRIPTED_WORKER = Path(__file__).with_name("scripted_worker.py")
PATIENCE = 60


class WorkerClient:
    def __init__(self, *arguments, command=(sys.executable, str(SCRIPTED_WORKER)), **options):
        self.process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=options.pop("stderr", subprocess.PIPE),
            **options,
        )
        self.raw = bytearray()
        self._items = queue.Queue()
        self._reading = True
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        decoder = LineDecoder()
        with self.process.stdout as stream:
            while self._reading and (piece := os.read(stream.fileno(), 7)):  # small pieces: every line arrives cut
                self.raw += piece
                for item in decoder.feed(piece):
                    self._items.put(item)
        for item in decoder.end():
            self._items.put(item)
        self._items.put(None)

    def send(self, message):
        line = encode(message) if isinstance(message, Message) else message
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def next(self):
        """The next item; None when the worker has closed its stdout."""
        return self._items.get(timeout=PATIENCE)

    def until(self, kind, id=None):
        """The next message of a kind, and all that came before it."""
        before = []
        while True:
            item = self.next()
            if item is None:
                raise AssertionError(f"the worker ended before {kind.__name__}: {before}")
            if isinstance(item, kind) and (id is None or item.id == id):
                return item, before
            before.append(item)

    def get(self, kind, id=None):
        return self.until(kind, id)[0]

    def rest(self):
        """All that comes until the worker closes its stdout."""
        return list(iter(self.next, None))

    def stop_reading(self):
        """Close the worker's stdout at its next word."""
        self._reading = False

    def begin(self, request):
        """Send a request and wait until it has been accepted."""
        self.send(request)
        return self.get(Accepted, request.id)

    def exit_code(self, within=PATIENCE):
        return self.process.wait(within)

    def stderr(self):
        return self.process.stderr.read().decode()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stderr):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()


def is_alive(pid):
    """Whether a process runs; one that waits for its parent to notice its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid, seconds):
    """Seconds until the process was gone; it is killed and an error raised where it was not."""
    begin = time.monotonic()
    while is_alive(pid):
        if time.monotonic() - begin > seconds:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"the worker was still there after {seconds} s")
        time.sleep(0.05)
    return time.monotonic() - begin
