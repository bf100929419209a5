"""Qt's messages on standard error, without what only says that the platform is off-screen."""

import sys

from PySide6 import QtCore

_OFFSCREEN_NOISE = ("This plugin does not support propagateSizeHints()", "This plugin does not support raise()")


def quietQtMessages() -> None:
    """Print Qt's messages as before, but for the noise."""

    def show(kind: QtCore.QtMsgType, context: QtCore.QMessageLogContext, text: str) -> None:
        if text not in _OFFSCREEN_NOISE:
            print(text, file=sys.stderr)

    QtCore.qInstallMessageHandler(show)
