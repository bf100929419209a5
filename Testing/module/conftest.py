"""Tests of the Slicer module, without Slicer: see Testing/README.md. They need PySide6 and slicer-core."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
MISSING = [name for name in ("PySide6", "slicer_core") if importlib.util.find_spec(name) is None]

if MISSING:
    # Skipping the conftest itself would end the run of the engine's tests too: each file says why it is not run.
    class LeftOut(pytest.File):
        def collect(self):
            pytest.skip(f"needs {' and '.join(MISSING)}: pip install -e '.[slicer]'", allow_module_level=True)

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
