"""`slicer.testing`: runs a module's own tests, as Slicer's ctest does."""

import importlib
import sys
import unittest
from pathlib import Path


def runUnitTest(path: str | list[str], testname: str) -> None:
    """Run the tests of the module `testname` found in the folder(s) `path`; RuntimeError if one fails."""
    for folder in [path] if isinstance(path, str) else path:
        if str(Path(folder)) not in sys.path:
            sys.path.insert(0, str(Path(folder)))
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(testname))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    if not result.wasSuccessful():
        raise RuntimeError(f"{testname}: {len(result.failures)} failed, {len(result.errors)} broken")
