"""A zip for whoever is asked for help: versions, log, settings; nothing that tells who the user or a patient is."""

from __future__ import annotations

import getpass
import json
import platform
import re
import socket
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from VCMSlicerLib.preflight import PreflightItem

# A path, Windows' or another's: from its root to the first character that no longer belongs to it.
QUOTED_PATH = re.compile(r"""(["'])(?:[A-Za-z]:[\\/]|\\\\|~?/)[^"'\n]*\1""")
# Names of folders hold spaces and commas: without quotes a path ends at a colon with a space, or with its line.
BARE_PATH = re.compile(r"""(?<![\w/\\<])(?:[A-Za-z]:[\\/]|\\\\|~?/(?=[^\s/]))[^\n]*?(?=: |\n|$)""")
IMAGE = re.compile(r"""[^\s"'/\\]+\.(?:nii(?:\.gz)?|nrrd|mha|mhd|dcm|mgz|mrb|mrml|img|hdr)\b""", re.IGNORECASE)
HIDDEN, HIDDEN_IMAGE = "<path>", "<image>"


def writeBundle(
    path: str | Path,
    *,
    versions: Mapping[str, str],
    log: str,
    settings: Mapping[str, Any],
    preflight: Sequence[PreflightItem],
) -> Path:
    """Write the zip, whole or not at all."""
    path = Path(path)
    lights = "\n".join(f"{item.level.value:6} {item.name}: {item.words}" for item in preflight)
    contents = {
        "versions.json": json.dumps({**systemVersions(), **versions}, indent=1),
        "settings.json": json.dumps(settings, indent=1, default=str, ensure_ascii=False),
        "preflight.txt": lights,
        "log.txt": log,
    }
    partial = path.with_name(f"{path.name}.part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in contents.items():
            bundle.writestr(name, anonymous(content))
    partial.replace(path)
    return path


def systemVersions() -> dict[str, str]:
    """The kind of machine, without its name."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
    }


def anonymous(text: str) -> str:
    r"""Text without paths, and without the names of the user and of the computer.

    >>> anonymous("cannot read C:\\Scans\\Miller^Anna\\t1.nii: no such file")
    'cannot read <path>: no such file'
    >>> anonymous("Miller.nii.gz was reoriented.")
    '<image> was reoriented.'
    >>> anonymous("12/32 voxels, dpm++, 3 mm/voxel")
    '12/32 voxels, dpm++, 3 mm/voxel'
    """
    text = IMAGE.sub(HIDDEN_IMAGE, BARE_PATH.sub(HIDDEN, QUOTED_PATH.sub(HIDDEN, text)))
    for name, word in ((_userName(), "<user>"), (socket.gethostname(), "<computer>")):
        if len(name) > 2:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text, flags=re.IGNORECASE)
    return text


def _userName() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
