"""When the worker must end: on a signal, at the death of its parent, and by force if it cannot otherwise."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

POLL_SECONDS = 0.5
ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGBREAK")
PR_SET_PDEATHSIG = 1


def watch_signals(on_signal: Callable[[int], None]) -> None:
    """Call `on_signal` with the number of a signal that asks to end; to be set up on the main thread.

    A handler in Python would wait for the main thread to come back from whatever it computes, so the number is taken
    from the wake-up descriptor, by a thread of its own.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    wanted = {int(getattr(signal, name)) for name in ENDING_SIGNALS if hasattr(signal, name)}
    for number in wanted:
        signal.signal(number, lambda number, frame: None)

    def listen(keep_open: socket.socket = theirs) -> None:
        while numbers := ours.recv(16):
            for number in wanted.intersection(numbers):
                on_signal(number)

    threading.Thread(target=listen, name="signals", daemon=True).start()


def watch_parent(on_death: Callable[[], None]) -> None:
    """Call `on_death` when the parent process has ended. On Windows the end of stdin is the only sign."""
    if os.name != "posix":
        return
    parent = os.getppid()
    if sys.platform == "linux":
        _have_the_kernel_end_us()

    def watch() -> None:
        while os.getppid() == parent:
            signal.alarm(0)  # the kernel's signal also comes when only the parent's thread that started us has ended
            time.sleep(POLL_SECONDS)
        on_death()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _have_the_kernel_end_us() -> None:
    """Have the kernel end this process 3 s after its parent, even where no Python thread gets to run.

    A call into C that keeps the interpreter's lock stops all our threads. So the signal that Linux sends at the
    parent's death is SIGQUIT, and its handler is libc's alarm(), which takes the signal's number, 3, for seconds.
    """
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    libc.signal(signal.SIGQUIT, ctypes.cast(libc.alarm, ctypes.c_void_p))
    libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGQUIT))


def end_by_force(exit_code: int) -> None:
    """End this process and its children now, whatever they are doing."""
    with contextlib.suppress(Exception):
        import psutil

        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    os._exit(exit_code)
