"""The section “Results”: a row a Sample, its structures one by one; show, compare, difference, export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.panels.dialogs.menus import makeMenu
from VCMSlicerLib.panels.results.resultDetails import ResultDetails
from VCMSlicerLib.panels.results.scoreTables import (
    fillTable,
    measuredWords,
    prepareTable,
    sampleCells,
    sampleHeaders,
    structureCells,
    structureHeaders,
)
from VCMSlicerLib.results import dicomExport
from VCMSlicerLib.results.comparison import difference
from VCMSlicerLib.results.resultRemoval import removeResult
from VCMSlicerLib.results.results import ResultRow, contrastsOf
from VCMSlicerLib.scene.sliceViews import showInSlices


class ResultsPanel:
    """Shows what `context.results` finds in the scene; nothing is kept here but which row is chosen."""

    def __init__(self, ui: Any, context: PanelContext) -> None:
        self.ui, self.context = ui, context
        self._rows: list[ResultRow] = []
        self._shown: list[Any] = []
        self._structures: list[Any] = []
        for table in (ui.resultsTable, ui.structuresTable):
            prepareTable(table)
        ui.resultsTable.connect("itemSelectionChanged()", self._onSelected)
        ui.resultsTable.connect("cellDoubleClicked(int,int)", lambda *_cell: self._onShow())
        ui.showButton.connect("clicked()", self._onShow)
        ui.compareButton.connect("clicked(bool)", self._onCompare)
        ui.contrastsButton.connect("clicked(bool)", self._onContrasts)
        ui.differenceButton.connect("clicked()", self._onDifference)
        ui.renameButton.connect("clicked()", self._onRename)
        ui.removeButton.connect("clicked()", self._onRemove)
        self.details = ResultDetails(ui, context, lambda: self.selected, self._enable)
        makeMenu(
            ui.exportButton,
            (
                (
                    _("NIfTI with description…"),
                    _("The volume, and a JSON file that says how it was made."),
                    self._onExportVolume,
                ),
                (_("DICOM series…"), _("A series with the tag Synthetic Data, after a warning."), self._onExportDicom),
            ),
        )

    @property
    def selected(self) -> ResultRow | None:
        """The row that is chosen."""
        index = self.ui.resultsTable.currentRow()
        return self._rows[index] if 0 <= index < len(self._rows) else None

    @property
    def _node(self) -> Any:
        """The image of the chosen row; what needs one is grey without."""
        assert self.selected is not None
        return self.selected.node

    def updateFromParameters(self) -> None:
        """Show the Samples of the scene; the newest is chosen when it is new."""
        self._rows = self.context.results.rows()
        content = [sampleCells(row) for row in self._rows]
        if content != self._shown:
            grown = len(content) > len(self._shown)
            before = self.ui.resultsTable.currentRow()
            fillTable(self.ui.resultsTable, sampleHeaders(), content)
            self._shown = content
            chosen = len(content) - 1 if grown or before >= len(content) else before
            if content:
                self.ui.resultsTable.selectRow(max(chosen, 0))
        self.ui.resultsTable.visible = bool(content)
        self._enable()

    def select(self, node: Any) -> None:
        """Choose the row of a Sample."""
        for index, row in enumerate(self._rows):
            if row.node is node:
                self.ui.resultsTable.selectRow(index)

    def exportVolume(self, path: str | Path) -> None:
        """Write the chosen Sample, with a JSON file beside it."""
        self.context.results.exportVolume(self._node, path)

    def _enable(self) -> None:
        row, ui = self.selected, self.ui
        twin = row is not None and row.twin is not None
        for widget in (ui.showButton, ui.renameButton, ui.removeButton, ui.exportButton):
            widget.enabled = row is not None
        comparison, contrasts = self.context.comparison, row is not None and bool(contrastsOf(row.node))
        withAndWithout = comparison.active and not comparison.showsContrasts
        ui.compareButton.checked = withAndWithout
        ui.compareButton.enabled = twin or withAndWithout
        ui.contrastsButton.checked = comparison.showsContrasts
        ui.contrastsButton.visible = contrasts or comparison.showsContrasts
        ui.differenceButton.enabled = twin
        ui.resultSummaryLabel.text = measuredWords(row)
        structures = structureCells(row) if row is not None else []
        if structures != self._structures:
            self._structures = structures
            fillTable(ui.structuresTable, structureHeaders(), structures)
        ui.structuresTable.visible = bool(structures)
        self.details.update()

    def _onSelected(self) -> None:
        self.details.onSelected()
        self._enable()
        comparison, row = self.context.comparison, self.selected
        if row is None or not comparison.active:
            return
        if comparison.showsContrasts:
            if contrasts := contrastsOf(row.node):
                comparison.compareContrasts(contrasts)
        elif row.twin is not None:
            comparison.compare(row.node)

    def _onShow(self) -> None:
        if self.selected is not None:
            self.details.closeOverlay()
            self.context.comparison.show(self.selected.node)
            self._enable()

    def _onCompare(self, checked: bool) -> None:
        self.details.closeOverlay()
        if checked and self.selected is not None:
            self.context.comparison.compare(self.selected.node)
        else:
            self.context.comparison.close()
        self._enable()

    def _onContrasts(self, checked: bool) -> None:
        self.details.closeOverlay()
        contrasts = contrastsOf(self._node) if checked and self.selected is not None else []
        if contrasts:
            self.context.comparison.compareContrasts(contrasts)
        else:
            self.context.comparison.close()
        self._enable()

    def _onDifference(self) -> None:
        node = self._node
        self.details.closeOverlay()
        self.context.comparison.close()
        showInSlices(background=node, foreground=difference(node), foregroundOpacity=0.6)
        self._enable()

    def _onRename(self) -> None:
        node, dialog = self._node, qt.QInputDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(_("Rename the image"))
        dialog.setLabelText(_("Its name in the scene:"))
        dialog.setTextValue(node.GetName())
        accepted = dialog.exec_() == qt.QDialog.Accepted
        name = str(dialog.textValue()).strip()
        dialog.deleteLater()
        if accepted and name:
            self.context.results.rename(node, name)
            self.updateFromParameters()

    def _onRemove(self) -> None:
        words = _("{name} will be taken out of the scene, with the image without conditions. Files stay. Continue?")
        node = self._node
        if slicer.util.confirmOkCancelDisplay(words.format(name=node.GetName()), _("Remove the image")):
            self.details.closeOverlay()
            self.context.comparison.close()
            removeResult(node)
            self.updateFromParameters()

    def _onExportVolume(self) -> None:
        suggestion = self._node.GetName().replace(", ", "-").replace(" ", "-") + ".nii.gz"
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Export the synthetic image"), suggestion, "NIfTI (*.nii.gz *.nii)"
        )
        if path:
            self._guarded(lambda: self.exportVolume(path))

    def _onExportDicom(self) -> None:
        if not slicer.util.confirmOkCancelDisplay(dicomExport.warning(), _("Export synthetic images to DICOM")):
            return
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose an empty folder"))
        if folder:
            self._guarded(lambda: dicomExport.exportDicom(self._node, folder))

    def _guarded(self, write: Any) -> None:
        try:
            write()
        except (OSError, ValueError) as error:
            slicer.util.errorDisplay(str(error), _("The image could not be exported"))
