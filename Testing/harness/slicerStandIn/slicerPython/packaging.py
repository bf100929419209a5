"""`slicer.packaging` in brief: pip goes through `slicer.util.executePythonModule`, which a test has to allow."""

from typing import Any

import slicer


def pip_install(requirements: str | list[str], **options: Any) -> None:
    """Run `pip install`."""
    listed = requirements.split() if isinstance(requirements, str) else requirements
    slicer.util.executePythonModule("pip", ["install", *listed])


def pip_uninstall(requirements: str | list[str], **options: Any) -> None:
    """Run `pip uninstall`."""
    listed = requirements.split() if isinstance(requirements, str) else requirements
    slicer.util.executePythonModule("pip", ["uninstall", "--yes", *listed])
