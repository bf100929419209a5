"""`trap '' INT; make test`: tests that were started with Ctrl-C ignored still stop programs with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).parents[2]
IGNORED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"


def test_a_child_of_these_tests_hears_ctrl_c():
    handler = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    heard = subprocess.run([sys.executable, "-c", handler], capture_output=True, text=True, check=True)
    assert heard.stdout == "False\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such inheritance")
@pytest.mark.parametrize("processes", [(), ("--numprocesses", "1")], ids=["alone", "xdist"])
def test_so_it_does_where_they_were_started_with_ctrl_c_ignored(processes):
    inner = f"{__file__}::test_a_child_of_these_tests_hears_ctrl_c"
    pytest_again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, inner]
    ended = subprocess.run(
        [sys.executable, "-c", IGNORED, *pytest_again], cwd=TESTING.parent, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
