"""A grey field for views that are not drawn here: tables, plots, the DICOM browser."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class PlaceholderView(PythonQtObject, QtWidgets.QLabel, metaclass=PythonQtType):
    """Shows the class of its view node."""

    def __init__(self, nodeClass: str, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(nodeClass, parent)
        self.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        self.setFrameShape(QtWidgets.QFrame.Shape.StyledPanel)
