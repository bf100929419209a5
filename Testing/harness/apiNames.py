"""The classes of Slicer's Qt side that the module or the stand-in names."""

import re
from pathlib import Path

HERE = Path(__file__).parent
MODULE = HERE.parents[1] / "VCMSlicer"
_PYTHON = re.compile(
    r"\b(?:qt|ctk|slicer|QtCore|QtGui|QtWidgets)\.((?:Q|ctk|qMRML|qSlicer)[A-Za-z]\w*)"
    r"|^class ((?:ctk|qMRML|qSlicer)\w+)"
    r"|\"((?:ctk|qMRML)[A-Z]\w+)\"",
    re.M,
)
_UI = re.compile(r'class="(\w+)"')
_NO_CLASSES = {"QtMsgType", "Qt", "Line"}


def sources() -> list[Path]:
    """The module's own Python files."""
    return [MODULE / "VCMSlicer.py", *sorted((MODULE / "VCMSlicerLib").rglob("*.py"))]


def uiFiles() -> list[Path]:
    """The module's .ui files."""
    return sorted((MODULE / "Resources" / "UI").glob("*.ui"))


def namedClasses() -> list[str]:
    """Sorted names."""
    found: set[str] = set()
    for path in (*sources(), *sorted((HERE / "slicerStandIn").rglob("*.py"))):
        found |= {name for groups in _PYTHON.findall(path.read_text("utf-8")) for name in groups if name}
    for path in uiFiles():
        found |= set(_UI.findall(path.read_text("utf-8")))
    return sorted(name for name in found - _NO_CLASSES if "PythonQt" not in name)
