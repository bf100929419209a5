"""Asks for a name."""

from __future__ import annotations

import qt
import slicer


def askName(title: str, label: str, name: str) -> str:
    """The name that the user gives; empty where they think better of it. `name` is what the field begins with."""
    dialog = qt.QDialog(slicer.util.mainWindow())
    dialog.setWindowTitle(title)
    layout = qt.QVBoxLayout(dialog)
    field = qt.QLineEdit()
    field.text = name
    field.selectAll()
    buttons = qt.QDialogButtonBox(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    layout.addWidget(qt.QLabel(label))
    layout.addWidget(field)
    layout.addWidget(buttons)
    given = str(field.text).strip() if dialog.exec_() == qt.QDialog.Accepted else ""
    dialog.deleteLater()
    return given
