"""The section “Quality and seed”: also how many images, and whether to make the same without conditions."""

from __future__ import annotations

from typing import Any

from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.scene.parameters import MAX_SEED, Quality


class SamplingPanel:
    """Two ways between the section's widgets and the parameters."""

    def __init__(self, ui: Any, context: PanelContext) -> None:
        self.ui, self.context, self._showing = ui, context, False
        self._buttons = {
            Quality.PREVIEW: ui.previewButton,
            Quality.STANDARD: ui.standardButton,
            Quality.REFERENCE: ui.referenceButton,
        }
        for button in self._buttons.values():
            button.connect("toggled(bool)", self._onChanged)
        ui.seedBox.connect("valueChanged(int)", self._onChanged)
        ui.samplesBox.connect("valueChanged(int)", self._onChanged)
        ui.newSeedBox.connect("toggled(bool)", self._onChanged)
        ui.uncontrolledBox.connect("toggled(bool)", self._onChanged)

    def updateFromParameters(self) -> None:
        """Show the values of the scene."""
        parameters = self.context.parameters
        if parameters is None:
            return
        self._showing = True
        try:
            self._buttons[parameters.quality].checked = True
            self.ui.seedBox.value = parameters.seed
            self.ui.newSeedBox.checked = parameters.newSeedEachTime
            self.ui.samplesBox.value = parameters.sampleCount
            self.ui.uncontrolledBox.checked = parameters.uncontrolled
        finally:
            self._showing = False
        busy = self.context.client.state.busy
        for widget in (*self._buttons.values(), self.ui.seedBox, self.ui.samplesBox, self.ui.uncontrolledBox):
            widget.enabled = not busy

    def advanceSeed(self) -> None:
        """After a Generate: the seed behind those that were used, where the user wants a new one each time."""
        parameters = self.context.parameters
        if parameters is not None and parameters.newSeedEachTime:
            parameters.seed = min(parameters.seed + parameters.sampleCount, MAX_SEED)

    def _onChanged(self, *_arguments: Any) -> None:
        parameters = self.context.parameters
        if self._showing or parameters is None:
            return
        parameters.quality = next(quality for quality, button in self._buttons.items() if button.checked)
        parameters.seed = self.ui.seedBox.value
        parameters.newSeedEachTime = self.ui.newSeedBox.checked
        parameters.sampleCount = self.ui.samplesBox.value
        parameters.uncontrolled = self.ui.uncontrolledBox.checked
        self.context.announce()
