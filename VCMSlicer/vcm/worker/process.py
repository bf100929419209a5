"""The process around a worker: its streams, its signals and its parent."""

from __future__ import annotations

from vcm.worker.contract import Engine
from vcm.worker.lifeline import watch_parent, watch_signals
from vcm.worker.service import Worker
from vcm.worker.streams import take_streams


def serve(engine: Engine, debug: bool = False) -> int:
    """Be a worker until the client, a signal or the parent's death ends it; returns the exit code."""
    worker = Worker(engine, *take_streams(), debug=debug)
    watch_signals(lambda number: worker.stop(128 + number))
    watch_parent(worker.stop)
    return worker.run()
