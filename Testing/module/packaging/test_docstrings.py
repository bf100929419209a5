"""The examples in the docstrings of the module's library, run as they stand there."""

import doctest
import importlib

import pytest
from packaged_files import MODULE

LIBRARY = MODULE / "VCMSlicerLib"
NOT_IMPORTED = {"startWorker"}  # a program of its own
NAMES = sorted(
    path.relative_to(MODULE).with_suffix("").as_posix().replace("/", ".")
    for path in LIBRARY.rglob("*.py")
    if path.stem not in NOT_IMPORTED and path.stem != "__init__"
)
WITH_EXAMPLES = [name for name in NAMES if ">>>" in (MODULE / (name.replace(".", "/") + ".py")).read_text("utf-8")]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_hold(name, scene):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
