"""The real worker process around an engine that does what `Generate.pack` says: `python scripted_worker.py`."""

import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding, Level
from vcm.protocol import (
    Examined,
    Generated,
    GeneratedSample,
    Machine,
    PackObtained,
    Packs,
    PreparedCondition,
    Ready,
    Registered,
    Segmented,
    Warmed,
)
from vcm.worker.process import serve


def call_c_for_a_minute(request):
    """As torch does: the interpreter's lock is free meanwhile."""
    ctypes.CDLL(None).sleep(60)


def call_c_for_a_minute_with_the_lock(request):
    ctypes.PyDLL(None).sleep(60)


def print_everywhere(request):
    print('from Python: {"type":"hello"}')
    sys.stdout.flush()
    os.write(1, b"from a C library\n")
    ctypes.CDLL(None).puts(b"from libc's buffer")
    ctypes.CDLL(None).fflush(None)
    os.system("echo from a child process")


def read_stdin(request):
    assert os.read(0, 10) == b""


def run_out_of_memory(request):
    raise MemoryError


def run_out_of_gpu_memory(request):
    raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 3 GiB")


def fail_in_words(request):
    raise VcmError(Code.GEOMETRY, "The mask größe.nii lies 80 mm away.", "Check it.", lost=12, path=Path("/a/b"))


def name_a_strange_file(request):
    raise VcmError(Code.FILE_UNREADABLE, "There is no \udcff.nii here\0.", found=float("nan"))


def divide_by_zero(request):
    1 / 0  # noqa: B018


def start_a_child(request):
    child = subprocess.Popen(["sleep", "60"])
    Path(request.out).write_text(str(child.pid))
    child.wait()


def exit_python(request):
    sys.exit(3)


def abort(request):
    os.abort()


DEEDS = {
    deed.__name__: deed
    for deed in (
        call_c_for_a_minute,
        call_c_for_a_minute_with_the_lock,
        print_everywhere,
        read_stdin,
        run_out_of_memory,
        run_out_of_gpu_memory,
        fail_in_words,
        name_a_strange_file,
        divide_by_zero,
        start_a_child,
        exit_python,
        abort,
    )
}


class ScriptedEngine:
    released = 0

    def start(self):
        if "--broken-engine" in sys.argv:
            raise ImportError("No module named 'torch'")
        time.sleep(0.2)
        return Ready("the processor, 3 cores")

    def generate(self, request, call):
        call.found(Finding(Level.WARNING, "VOXELS_LOST", "ventricles", "12 voxels lie outside."))
        if request.pack in DEEDS:
            call.progress("sampling")
            DEEDS[request.pack](request)
        seed = request.seed if request.pack != "not_a_number" else float("nan")
        for step in range(1, (request.steps or 2) + 1):
            call.stop_if_cancelled()
            time.sleep(0.02)
            call.progress("sampling", step, request.steps or 2, seconds_left=0.5)
        return Generated(request.id, request.out, (GeneratedSample(request.out, seed),), "report.json")

    def examine(self, request, call):
        seen = tuple(PreparedCondition(entry.name, entry.path) for entry in request.conditions)
        return Examined(request.id, (), seen)

    def segment(self, request, call):
        return Segmented(request.id, request.out, ())

    def register(self, request, call):
        matrix = (1.0, 0.0, 0.0, 5.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        return Registered(request.id, "good", "Registered.", 0.5, 1.0, 0.0, 5.0, matrix, request.out + "/overlay.png")

    def list_packs(self, request, call):
        return Packs(request.id, f"released {self.released} times", ())

    def get_pack(self, request, call):
        return PackObtained(request.id, (request.name,))

    def preflight(self, request, call):
        return Machine(request.id, (), {}, 1, 1)

    def warm(self, request, call):
        return Warmed(request.id, "warm")

    def release(self):
        self.released += 1


if __name__ == "__main__":
    sys.exit(serve(ScriptedEngine(), debug="--debug" in sys.argv))
