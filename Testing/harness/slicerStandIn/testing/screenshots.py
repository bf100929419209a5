"""Pictures of widgets, for documentation and for looking at what a test did."""

from pathlib import Path
from typing import Any

import slicer

from .eventLoop import processEvents


def saveScreenshot(widget: Any, path: Path | str) -> Path:
    """Save what `widget` shows once it has settled, as PNG; make the folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    processEvents(0.2)
    if slicer.app.layoutManager() is not None:
        slicer.util.forceRenderAllViews()
    if not widget.grab().save(str(path), "PNG"):
        raise OSError(f"could not write the picture {path}")
    return path
