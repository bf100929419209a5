"""pip for Slicer's Python: refused, unless a test says what is to happen instead."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import slicer


class PipRefused(RuntimeError):
    """A module wanted to run pip in a test that did not allow it."""


class Pip:
    """Set `runner` to be called with pip's arguments."""

    def __init__(self) -> None:
        self.runner: Callable[[list[str]], Any] | None = None

    def run(self, module: str, arguments: list[str], *_options: Any, **_keywords: Any) -> None:
        """Stands for `slicer.util.executePythonModule`."""
        if module != "pip" or self.runner is None:
            raise PipRefused(f"python -m {module} {' '.join(map(str, arguments))}: set the fixture's `pip.runner`")
        self.runner([str(argument) for argument in arguments])


@contextmanager
def refusedPip() -> Iterator[Pip]:
    """No Python module is run for Slicer's Python while this is open."""
    pip, original = Pip(), slicer.util.executePythonModule
    slicer.util.executePythonModule = pip.run
    try:
        yield pip
    finally:
        slicer.util.executePythonModule = original
