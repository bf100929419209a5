"""`ctkMessageBox`: a message box that can be told not to come again."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class ctkMessageBox(PythonQtObject, QtWidgets.QMessageBox, metaclass=PythonQtType):
    """Keeps the settings key and the mark; `exec_` is under the tests' control like every modal dialog."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._settingsKey = ""
        self._dontShowAgain = False

    dontShowAgainSettingsKey = QtCore.Property(
        str, lambda self: self._settingsKey, lambda self, key: setattr(self, "_settingsKey", key)
    )
    dontShowAgain = QtCore.Property(
        bool, lambda self: self._dontShowAgain, lambda self, mark: setattr(self, "_dontShowAgain", mark)
    )

    dontShowAgainVisible = QtCore.Property(bool, lambda self: False, lambda self, visible: None)
