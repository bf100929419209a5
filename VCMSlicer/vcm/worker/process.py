"""The process around a worker: its streams, its signals and its parent."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Callable
from functools import partial

from vcm.worker.contract import Engine
from vcm.worker.lifeline import watch_parent, watch_signals
from vcm.worker.service import Worker
from vcm.worker.streams import take_streams, write_whole

Write = Callable[[int, bytes], None]


def serve(engine: Engine, debug: bool = False, write: Write = write_whole) -> int:
    """Be a worker until the client, a signal or the parent's death ends it; returns the exit code."""
    atexit.register(gc.freeze)  # spares the interpreter's last look for cycles among all that PyTorch has made
    inlet, outlet = take_streams()
    worker = Worker(engine, inlet, partial(write, outlet), debug)
    watch_signals(lambda number: worker.stop(128 + number))
    watch_parent(worker.stop)
    return worker.run()
