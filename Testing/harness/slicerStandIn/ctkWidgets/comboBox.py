"""`ctkComboBox`: a combo box with a text for when nothing is chosen."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class ctkComboBox(PythonQtObject, QtWidgets.QComboBox, metaclass=PythonQtType):
    """`defaultText` is shown by Qt's own placeholder."""

    defaultText = QtCore.Property(
        str, lambda self: self.placeholderText, lambda self, text: self.setPlaceholderText(text)
    )
