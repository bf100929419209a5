"""QSettings in a temporary folder: a test reads no one's preferences and leaves none behind."""

from pathlib import Path

from PySide6 import QtCore


def redirectSettings(folder: Path) -> None:
    """Let every QSettings of this process live in `folder`, as ini files on every system."""
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    for kind in (QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Format.NativeFormat):
        for scope in (QtCore.QSettings.Scope.UserScope, QtCore.QSettings.Scope.SystemScope):
            QtCore.QSettings.setPath(kind, scope, str(folder))


def clearSettings() -> None:
    """Forget all that was set, as between two tests."""
    settings = QtCore.QSettings()
    settings.clear()
    settings.sync()
