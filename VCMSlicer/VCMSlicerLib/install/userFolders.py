"""Where this module keeps things on the user's disk; the same places as the engine's."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME = "vcm-slicer"


def dataFolder() -> Path:
    """The folder of our own next to the user's other data; it need not exist yet."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / NAME
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / NAME
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / NAME


def packsFolder() -> Path:
    """Where the user's packs lie: `VCM_PACKS`, or `packs` in our folder."""
    moved = os.environ.get("VCM_PACKS")
    return Path(moved).expanduser() if moved else dataFolder() / "packs"


def runsFolder() -> Path:
    """Where each run gets a folder for what goes to the worker and what comes back."""
    return dataFolder() / "runs"
