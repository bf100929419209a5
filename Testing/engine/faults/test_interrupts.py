"""An interrupt at an awkward moment ends in one sentence or in silence, never in a traceback."""

import signal
import subprocess
import sys

import pytest

ON_IMPORT = """
import runpy, signal, sys

class Awkward:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            self.happen()

    def happen(self):
        {happening}

sys.meta_path.insert(0, Awkward())
sys.argv = ["vcm", "packs", "list"]
runpy.run_module("vcm", run_name="__main__")
"""
UNRAISABLE = """
        class Dying:
            def __del__(self):
                signal.raise_signal(signal.SIGINT)
        Dying()
"""


def ended(module, happening):
    script = ON_IMPORT.format(module=module, happening=happening.strip())
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_command_line_is_imported_it_ends_the_process_in_silence(number):
    found = ended("vcm.cli.inputs", f"signal.raise_signal({int(number)})")
    assert (found.returncode, found.stdout, found.stderr) == (-number, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_a_command_runs_it_is_cancelled_in_one_sentence(number):
    found = ended("vcm.packs.store", f"signal.raise_signal({int(number)})")
    assert (found.returncode, found.stderr.count("\n")) == (130, 1), found.stderr
    assert "Cancelled" in found.stderr


def test_where_python_cannot_raise_it_it_is_not_lost_and_prints_no_traceback():
    found = ended("vcm.packs.store", UNRAISABLE)
    assert found.returncode == 130, (found.stdout, found.stderr)
    assert "Exception ignored" not in found.stderr and "Cancelled" in found.stderr
