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


def linger(note):
    Path(note).write_text(str(os.getpid()))
    time.sleep(60)
