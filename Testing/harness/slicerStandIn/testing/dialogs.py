"""Modal dialogs: a test says beforehand what the user will answer; a dialog nobody answers fails instead of hanging."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from PySide6 import QtWidgets

Answer = Any


class UnansweredDialog(AssertionError):
    """A modal dialog came up for which the test gave no answer."""


class Dialogs:
    """What the user answers, in order, and what was asked.

    >>> dialogs = Dialogs()
    >>> dialogs.answer("/tmp/picked.nii.gz")
    >>> dialogs.next("QFileDialog.getOpenFileName: Choose a scan")
    '/tmp/picked.nii.gz'
    >>> dialogs.asked
    ['QFileDialog.getOpenFileName: Choose a scan']
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: list[Answer] = []

    def answer(self, *answers: Answer) -> None:
        """Answer the next dialogs: a button or path, or a function that is given the dialog and gives its result."""
        self._answers.extend(answers)

    def next(self, question: str, dialog: Any = None) -> Answer:
        """Take the next answer to `question`; UnansweredDialog if there is none."""
        self.asked.append(question)
        if not self._answers:
            raise UnansweredDialog(f"a dialog came up that the test did not answer: {question}")
        answer = self._answers.pop(0)
        return answer(dialog) if callable(answer) and not isinstance(answer, type) else answer


@contextmanager
def answeredDialogs() -> Iterator[Dialogs]:
    """Put the answers in the place of every modal dialog of `qt` while this is open."""
    import qt

    dialogs = Dialogs()
    replaced: list[tuple[Any, str, Any]] = []

    def replace(owner: Any, name: str, function: Any) -> None:
        replaced.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, function)

    for name in ("getOpenFileName", "getOpenFileNames", "getSaveFileName", "getExistingDirectory"):
        replace(qt.QFileDialog, name, _asking(dialogs, f"QFileDialog.{name}"))
    for name in ("question", "information", "warning", "critical"):
        replace(qt.QMessageBox, name, _asking(dialogs, f"QMessageBox.{name}"))
    for name in ("getText", "getInt", "getDouble", "getItem"):
        replace(qt.QInputDialog, name, _asking(dialogs, f"QInputDialog.{name}"))
    replace(QtWidgets.QDialog, "exec", _executing(dialogs))
    replace(QtWidgets.QMessageBox, "exec", _executing(dialogs))
    replace(qt.QMenu, "exec_", _executing(dialogs))  # PySide6 does not let QMenu.exec itself be replaced
    try:
        yield dialogs
    finally:
        for owner, name, original in reversed(replaced):
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


def _asking(dialogs: Dialogs, what: str) -> Any:
    def ask(*arguments: Any, **keywords: Any) -> Answer:
        texts = [argument for argument in arguments if isinstance(argument, str)]
        return dialogs.next(": ".join([what, *texts]))

    return staticmethod(ask)


def _executing(dialogs: Dialogs) -> Callable[..., Answer]:
    def execute(self: Any, *arguments: Any) -> Answer:
        parts = (type(self).__name__, self.windowTitle, getattr(self, "text", ""))
        return dialogs.next(": ".join(part for part in parts if isinstance(part, str) and part), self)

    return execute
