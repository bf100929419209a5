"""Tests of the Slicer module, without Slicer: see Testing/README.md. They need PySide6 and slicer-core."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REQUIRED = "VCM_MODULE_TESTS"  # set to "required" where it is a failure that they cannot run
LIBRARIES = "libgl1 libegl1 libglib2.0-0 libxkbcommon0 libdbus-1-3 libfontconfig1 fonts-dejavu-core"


def whyNot() -> str:
    """What is missing, with the command that brings it; empty where all is there."""
    missing = [name for name in ("PySide6", "slicer_core", "pydicom") if importlib.util.find_spec(name) is None]
    if missing:
        return f"needs {' and '.join(missing)}: pip install -e '.[slicer]'"
    try:
        importlib.import_module("PySide6.QtWidgets")
    except ImportError as error:
        return f"Qt cannot be loaded ({error}): apt-get install {LIBRARIES}"
    return ""


MISSING = whyNot()
if MISSING and os.environ.get(REQUIRED) == "required":
    pytest.exit(f"The tests of the Slicer module cannot run: {MISSING}", returncode=1)

if MISSING:
    # Skipping the conftest itself would end the run of the engine's tests too: each file says why it is not run.
    class LeftOut(pytest.File):
        def collect(self):
            pytest.skip(MISSING, allow_module_level=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(file_path, parent):
        collected = yield
        return [LeftOut.from_parent(parent, path=file_path)] if collected else collected

else:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    for folder in (HERE.parent / "harness", HERE.parents[1] / "VCMSlicer"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))

    from slicerStandIn import start

    start()

    from slicerStandIn.testing.fixtures import *  # noqa: F403


@pytest.fixture(autouse=True)
def sameCodeForEveryTest():
    """Take back what a reload did: tests have imported the module's code at their top, and would use another copy."""
    before = {name: code for name, code in sys.modules.items() if name.split(".")[0] == "VCMSlicerLib"}
    yield
    after = {name: code for name, code in sys.modules.items() if name.split(".")[0] == "VCMSlicerLib"}
    if any(after.get(name) is not code for name, code in before.items()):
        for name in after:
            del sys.modules[name]
        sys.modules.update(before)
