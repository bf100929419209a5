"""`slicer.testing` in brief: runs a module's own tests, as Slicer's ctest does."""

import sys
import unittest


def runUnitTest(path: str | list[str], testname: str) -> None:
    """Run the tests of the module `testname` found in the folder(s) `path`; an exception if one fails."""
    sys.path.extend([path] if isinstance(path, str) else path)
    result = unittest.TextTestRunner(verbosity=2).run(unittest.defaultTestLoader.loadTestsFromName(testname))
    if not result.wasSuccessful():
        raise Exception(f"{len(result.failures)} failed, {len(result.errors)} broken")
