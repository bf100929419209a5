"""The last lines of what a worker said."""

from __future__ import annotations

import time
from collections import deque

LINES = 2000


class WorkerLog:
    """Lines with the time of day; old ones are dropped."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES)

    def add(self, line: str) -> None:
        """Note a line."""
        self._lines.append(f"{time.strftime('%H:%M:%S')} {line}")

    def __str__(self) -> str:
        return "\n".join(self._lines)
