"""Threads that wait sleep soon, so that a busy machine does not slow the program far more than its share."""

import os
import subprocess
import sys

import pytest

STARTS = {
    "the command line": "import vcm.__main__ as start; sys.argv = ['vcm', '--version']",
    "the worker": "import vcm.worker.__main__ as start; start.serve = lambda *_: 0; sys.argv = ['worker']",
}
SCRIPT = """import os, sys
{start}
assert "torch" not in sys.modules
try:
    start.main()
except SystemExit:
    pass
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    ("own", "found"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")]
)
def test_threads_sleep_soon_unless_the_user_says_otherwise(start, own, found):
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    script = SCRIPT.format(start=STARTS[start])
    ended = subprocess.run(
        [sys.executable, "-c", script], env={**plain, **own}, capture_output=True, text=True, timeout=120, check=True
    )
    assert ended.stdout.splitlines()[-1] == found
