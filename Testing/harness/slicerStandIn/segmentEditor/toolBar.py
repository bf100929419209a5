"""The buttons of the segment editor: Add, Remove, the effects, Undo, Redo."""

from typing import Any

from PySide6 import QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType, deriveClass

_Button = deriveClass(QtWidgets.QPushButton, "QPushButton")


class EditorToolBar(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Buttons are found by `button("Paint")`, by a test or by a mouse."""

    def __init__(self, editor: Any) -> None:
        super().__init__(editor)
        self._buttons = {}
        layout = QtWidgets.QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        actions = {
            "Add": editor._onAddSegment,
            "Remove": editor._onRemoveSegment,
            "Undo": editor.undo,
            "Redo": editor.redo,
            "None": lambda: editor.setActiveEffect(None),
            **{name: _activate(editor, name) for name in editor.availableEffectNames()},
        }
        for index, (name, action) in enumerate(actions.items()):
            button = self._buttons[name] = _Button(name)
            button.setObjectName(f"{name}Button")
            button.clicked.connect(_withoutArguments(action))
            layout.addWidget(button, index // 4, index % 4)

    def button(self, name: str) -> Any:
        return self._buttons[name]

    def update_(self, editor: Any) -> None:
        """Make the buttons say what is possible now."""
        segmentation, logic = editor.segmentationNode(), editor._logic
        editable = segmentation is not None and not editor.readOnly
        paintable = editable and editor.sourceVolumeNode() is not None
        self._buttons["Add"].setEnabled(editable)
        self._buttons["Remove"].setEnabled(editable and bool(editor.currentSegmentID()))
        self._buttons["Undo"].setEnabled(bool(editor.undoEnabled and logic.CanUndo()))
        self._buttons["Redo"].setEnabled(bool(editor.undoEnabled and logic.CanRedo()))
        active = editor.activeEffect().name if editor.activeEffect() else "None"
        for name in ("None", *editor.availableEffectNames()):
            button = self._buttons[name]
            button.setCheckable(True)
            button.setChecked(name == active)
            button.setEnabled(paintable)
            ordered = name == "None" or name in editor.effectNameOrder()
            button.setVisible(ordered or editor.unorderedEffectsVisible)


def _activate(editor: Any, name: str) -> Any:
    return lambda: editor.setActiveEffectByName(name)


def _withoutArguments(action: Any) -> Any:
    return lambda *arguments: action()
