"""Work for other processes, in a module that loads nothing heavy."""

import os
import signal
import time
from pathlib import Path

from vcm.core.errors import Code, VcmError


def double(number):
    return 2 * number


def refuse(number):
    raise VcmError(Code.CONDITION, f"{number} is refused.", "Give another.", found=number)


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse_or_note(note):
    """Refuse where there is nothing to note; else take a while, and note it."""
    if note is None:
        time.sleep(0.5)
        refuse(note)
    time.sleep(1.5)
    Path(note).write_text("done")


def linger(note):
    Path(note).write_text(str(os.getpid()))
    time.sleep(60)
