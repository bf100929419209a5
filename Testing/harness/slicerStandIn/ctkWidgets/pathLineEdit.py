"""`ctkPathLineEdit` and `ctkDirectoryButton`: a path that is typed or browsed for."""

from enum import IntFlag

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class ctkPathLineEdit(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """The line is live; its browse button opens Qt's dialog, which a test answers (see testing/dialogs.py)."""

    class Filter(IntFlag):
        Dirs, Files, Drives, Executable, Readable, Writable = 0x01, 0x02, 0x04, 0x80, 0x10, 0x20

    Dirs, Files, Drives = Filter.Dirs, Filter.Files, Filter.Drives
    Executable, Readable, Writable = Filter.Executable, Filter.Readable, Filter.Writable

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._filters = int(self.Filter.Files)
        self._nameFilters: list[str] = []
        self._settingKey = ""
        self._line = QtWidgets.QLineEdit(self)
        self._browseButton = QtWidgets.QToolButton(self)
        self._browseButton.setText("\u2026")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        layout.addWidget(self._browseButton)
        self._line.textChanged.connect(self.currentPathChanged)
        self._browseButton.clicked.connect(self.browse)

    def setCurrentPath(self, path: str) -> None:
        self._line.setText(str(path))

    def browse(self) -> None:
        """Ask for a folder if only folders are wanted, else for a file."""
        import qt

        if self._filters & self.Filter.Files:
            path = qt.QFileDialog.getOpenFileName(self, "", self._line.text, ";;".join(self._nameFilters))
        else:
            path = qt.QFileDialog.getExistingDirectory(self, "", self._line.text)
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        """Accepted; no history is kept."""

    def _setFilters(self, filters: int) -> None:
        self._filters = int(filters)

    def _setNameFilters(self, nameFilters: list[str]) -> None:
        self._nameFilters = list(nameFilters)

    def _setSettingKey(self, key: str) -> None:
        self._settingKey = key

    currentPath = QtCore.Property(str, lambda self: self._line.text, setCurrentPath)
    filters = QtCore.Property(int, lambda self: self._filters, _setFilters)
    nameFilters = QtCore.Property("QStringList", lambda self: self._nameFilters, _setNameFilters)
    settingKey = QtCore.Property(str, lambda self: self._settingKey, _setSettingKey)


class ctkDirectoryButton(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """A button that shows a folder."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._button = QtWidgets.QPushButton(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)

    def _setDirectory(self, directory: str) -> None:
        if directory != self._button.text:
            self._button.setText(directory)
            self.directoryChanged.emit(directory)

    directory = QtCore.Property(str, lambda self: self._button.text, _setDirectory)
