"""CTK classes that a panel uses as what they are derived from in Qt."""

from PySide6 import QtWidgets

from ..pythonQt.objects import deriveClass

_BASES = {
    "ctkCheckBox": QtWidgets.QCheckBox,
    "ctkCollapsibleGroupBox": QtWidgets.QGroupBox,
    "ctkExpandableWidget": QtWidgets.QFrame,
    "ctkFittedTextBrowser": QtWidgets.QTextBrowser,
    "ctkMenuButton": QtWidgets.QPushButton,
    "ctkPopupWidget": QtWidgets.QFrame,
    "ctkSearchBox": QtWidgets.QLineEdit,
}


def plainWidgets() -> dict[str, type]:
    """Make the classes; what CTK adds to Qt they do not have, and setting it is refused."""
    return {name: deriveClass(base, name) for name, base in _BASES.items()}
