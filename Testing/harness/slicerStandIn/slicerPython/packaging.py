"""`slicer.packaging`: pip for Slicer's Python. Nothing is ever installed by a test unless it hands in a runner.

slicer.packaging.pipRunner = lambda arguments: calls.append(arguments)
"""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

pipRunner: Callable[[list[str]], Any] | None = None


class PipRefused(RuntimeError):
    """A module wanted to run pip in a test that did not allow it."""


def load_requirements(path: str | Path) -> list[str]:
    """Requirements of a file: comments, empty lines and lines that begin with a dash are left out."""
    lines = [line.split(" #")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(requirements: str | list[str]) -> bool:
    """Whether all requirements are there; versions are not compared."""
    names = [requirements] if isinstance(requirements, str) else requirements
    return all(_isInstalled(name) for name in names)


def pip_ensure(requirements: str | list[str], skip_in_testing: bool = True, **options: Any) -> None:
    """Install what is missing; in testing mode Slicer does nothing, and neither does this."""
    if not skip_in_testing and not pip_check(requirements):
        pip_install(requirements)


def pip_install(requirements: str | list[str], **options: Any) -> None:
    """Run `pip install` through `pipRunner`; PipRefused without one."""
    _run(["install", *([requirements] if isinstance(requirements, str) else requirements)])


def pip_uninstall(requirements: str | list[str], **options: Any) -> None:
    """Run `pip uninstall` through `pipRunner`; PipRefused without one."""
    _run(["uninstall", *([requirements] if isinstance(requirements, str) else requirements)])


def isPipInstallInProgress() -> bool:
    """Never: a runner has ended when it returns."""
    return False


def _run(arguments: list[str]) -> None:
    if pipRunner is None:
        raise PipRefused(f"pip {' '.join(arguments)}: set slicer.packaging.pipRunner if the test allows it")
    pipRunner(arguments)


def _isInstalled(requirement: str) -> bool:
    name = "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
