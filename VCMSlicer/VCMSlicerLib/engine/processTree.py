"""Ends a process with all it started: Slicer's Python is a launcher whose child does the work."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

LIST_SECONDS = 5


def endTree(*roots: int) -> None:
    """End these processes and their descendants now. Ids of processes that have ended are passed over."""
    wanted = [pid for pid in roots if pid > 0]
    if sys.platform == "win32":
        for pid in wanted:
            command = ["taskkill", "/PID", str(pid), "/T", "/F"]
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, creationflags=0x08000000)
        return
    ours = {os.getpid(), os.getppid()}
    # Once more, for what was started between the look and the blow.
    for _round in range(2):
        for pid in treeOf(wanted):
            if pid not in ours:
                _end(pid)


def treeOf(roots: Iterable[int]) -> list[int]:
    """The processes that still run, and all that descend from them, parents first; not for Windows."""
    children: dict[int, list[int]] = {}
    parents = _parents()
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    waiting = [pid for pid in roots if pid in parents]
    while waiting:
        pid = waiting.pop(0)
        if pid not in found:
            found.append(pid)
            waiting += children.get(pid, [])
    return found


def _end(pid: int) -> None:
    with contextlib.suppress(OSError):
        # The worker leads a group of its own; a child of its that lost its parent is found there alone.
        if os.getpgid(pid) == pid and pid != os.getpgrp():
            os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def _parents() -> dict[int, int]:
    """Of each running process its parent."""
    processes = Path("/proc")
    if not (processes / "self" / "stat").exists():
        return _parentsFromList()
    parents = {}
    for entry in processes.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                state, parent = (entry / "stat").read_text("utf-8", "replace").rsplit(")", 1)[1].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    return parents


def _parentsFromList() -> dict[int, int]:
    try:
        listed = subprocess.run(
            ["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, timeout=LIST_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (line.split() for line in listed.splitlines())
    return {int(row[0]): int(row[1]) for row in rows if len(row) == 2}
