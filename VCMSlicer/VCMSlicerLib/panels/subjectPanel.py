"""The section “Subject”: a row for each scalar the model reads; those a mask determines follow it unless set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _
from vcm.conditions.attributes import ALL, CONTRAST, AttributeSpec

from VCMSlicerLib.models.packInfo import defaultValue, usableValue
from VCMSlicerLib.panels.context import AMBER, GREEN, GREY, PanelContext, dot
from VCMSlicerLib.scene.parameters import AttributeSetting

MANY_UNITS = 20


class SubjectPanel:
    """Makes its rows anew when the model changes. `measured` gives the volume that the conditions tell of an attribute,
    in its unit, or None."""

    def __init__(self, ui: Any, context: PanelContext, measured: Callable[[AttributeSpec], float | None]) -> None:
        self.ui, self.context, self._measured = ui, context, measured
        self.rows: dict[str, AttributeRow] = {}
        self._shown: tuple[AttributeSpec, ...] | None = None

    def updateFromParameters(self) -> None:
        """Show the values of the scene."""
        pack = self.context.pack
        attributes = pack.attributes if pack is not None else ()
        if attributes != self._shown:
            self._rebuild(attributes)
        busy = self.context.client.state.busy
        for row in self.rows.values():
            parameters = self.context.parameters
            row.show(
                parameters.attribute(row.info.name) if parameters is not None else AttributeSetting(),
                self._measured(row.info),
                self.context.completes,
            )
            row.setEnabled(not busy)
        self.ui.noSubjectLabel.visible = not attributes

    def _rebuild(self, attributes: tuple[AttributeSpec, ...]) -> None:
        form = self.ui.subjectRows.layout()
        while form.rowCount():
            form.removeRow(0)
        self.rows = {info.name: AttributeRow(info, self._onChanged) for info in attributes}
        for row in self.rows.values():
            form.addRow(f"{row.title}:", row.widget)
        self._shown = attributes

    def _onChanged(self, name: str, setting: AttributeSetting) -> None:
        if self.context.parameters is not None:
            self.context.parameters.setAttribute(name, setting)
            self.context.announce()


class AttributeRow:
    """One scalar: a choice, or a slider in its unit; with a box “set” where a mask could determine it instead, and
    below it in words where its value comes from."""

    def __init__(self, info: AttributeSpec, onChanged: Any) -> None:
        self.info, self._tell, self._showing = info, onChanged, False
        self.title = _("Contrast") if info.role == CONTRAST else _(info.title)
        self.widget = qt.QWidget()
        column = qt.QVBoxLayout(self.widget)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        layout = qt.QHBoxLayout()
        column.addLayout(layout)
        self.setBox = self._makeSetBox() if info.structures else None
        self.originLabel = self._makeOriginLabel()
        self.editor = self._makeChoice() if info.choices else self._makeSlider()
        layout.addWidget(self.editor, 1)
        if self.setBox is not None:
            layout.addWidget(self.setBox)
            column.addWidget(self.originLabel)

    def show(self, setting: AttributeSetting, measured: float | None = None, completes: bool = False) -> None:
        """Show a setting without a signal; unless it is set, the volume measured on the conditions is shown."""
        self._showing = True
        try:
            value = usableValue(self.info, setting.value)
            if self.info.choices:
                self.editor.setCurrentIndex(max(0, self.editor.findData(value)))
            else:
                follows = self.setBox is not None and not setting.given
                self.editor.value = float(followed(self.info, measured) if follows else value)
            if self.setBox is not None:
                self.setBox.checked = setting.given
                self.editor.enabled = setting.given
                self.originLabel.text = dot(*originWords(self.info, setting, measured, completes))
        finally:
            self._showing = False

    def setEnabled(self, enabled: bool) -> None:
        """Whether the user may change it."""
        self.widget.enabled = enabled

    def _makeOriginLabel(self) -> Any:
        label = qt.QLabel()
        label.objectName = f"{self.info.name}OriginLabel"
        label.wordWrap = True
        label.toolTip = _("Where this value comes from.")
        return label

    def _makeSetBox(self) -> Any:
        box = qt.QCheckBox(_("Set"))
        box.objectName = f"{self.info.name}SetBox"
        box.toolTip = _("Give this volume yourself. Otherwise it is measured on what is drawn, or the model's average.")
        box.connect("toggled(bool)", self._onChanged)
        return box

    def _makeChoice(self) -> Any:
        box = qt.QComboBox()
        box.objectName = f"{self.info.name}Box"
        words = {"F": _("Female"), "M": _("Male")}
        for choice in self.info.choices:
            box.addItem(words.get(choice, choice), choice)
        box.toolTip = _("{title} of the head to be made.").format(title=self.title)
        count = len(self.info.choices)
        if count > 1 and self.info.is_all(ALL):
            box.addItem({2: _("Both"), 3: _("All three")}.get(count, _("All")), ALL)
            box.toolTip = _("What the image shows. The last entry makes one head in every contrast, from one noise.")
        box.connect("activated(int)", self._onChanged)
        return box

    def _makeSlider(self) -> Any:
        info = self.info
        slider = ctk.ctkSliderWidget()
        slider.objectName = f"{info.name}Slider"
        low, high = (0.0, 1.0) if info.low is None or info.high is None else (info.low, info.high)
        slider.minimum, slider.maximum = low, high
        slider.decimals = 0 if high - low >= MANY_UNITS else 2
        slider.singleStep = 1.0 if slider.decimals == 0 else 0.01
        slider.suffix = f" {info.unit}" if info.unit else ""
        span = (
            _("{low:g} to {high:g} {unit}, the range the model was trained in.")
            if info.calibrated
            else _("On the model's own scale from 0 to 1.")
        )
        words = span.format(low=slider.minimum, high=slider.maximum, unit=info.unit)
        slider.toolTip = _("{title} of the head to be made: {range}").format(title=self.title, range=words)
        slider.connect("valueChanged(double)", self._onChanged)
        return slider

    def _onChanged(self, *_arguments: Any) -> None:
        if self._showing:
            return
        value = self.editor.itemData(self.editor.currentIndex) if self.info.choices else self.editor.value
        given = self.setBox.checked if self.setBox is not None else True
        self._tell(self.info.name, AttributeSetting(value, given))


def followed(info: AttributeSpec, measured: float | None) -> float:
    """The value that is used while none is set: what the conditions tell, within what the model was trained in, else
    the model's average."""
    if measured is None or info.low is None or info.high is None:
        return float(defaultValue(info))
    return min(max(measured, info.low), info.high)


def originWords(
    info: AttributeSpec, setting: AttributeSetting, measured: float | None, completes: bool = False
) -> tuple[str, str]:
    """Where a volume's value comes from: a level of attention and words. Where a layout `completes` the head, what is
    not drawn is measured on that."""
    shown = "" if measured is None else _("{value:.1f} {unit}").format(value=measured, unit=info.unit)
    if setting.given:
        return GREY, _("Set by you; the drawn conditions measure {shown}.").format(shown=shown) if shown else _(
            "Set by you."
        )
    if measured is None and completes:
        return GREY, _("Follows the completed head, on which it will be measured.")
    if measured is None:
        return GREY, _("The model's average: what is drawn does not determine it.")
    if followed(info, measured) != measured:
        words = _("Follows the conditions, but {shown} is beyond what the model was trained with.")
        return AMBER, words.format(shown=shown)
    return GREEN, _("Follows the conditions: {shown}.").format(shown=shown)
