"""The bar above a view, of which modules use the visibility only."""

from PySide6 import QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class ViewController(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Not drawn."""

    def fitSliceToBackground(self) -> None:
        """Accepted; the view's own method does it."""
