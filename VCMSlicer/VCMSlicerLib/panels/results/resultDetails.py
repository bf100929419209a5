"""Of the chosen result: the overlay of asked and obtained, and its scores as table, charts and CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from vcm.core.errors import VcmError

from VCMSlicerLib.panels.context import PanelContext
from VCMSlicerLib.panels.dialogs.menus import makeMenu
from VCMSlicerLib.results.measuredSegmentation import Comparable, comparables
from VCMSlicerLib.results.overlay import AGREED, COLORS, EXTRA, MISSED, partVolumes
from VCMSlicerLib.results.results import ResultRow
from VCMSlicerLib.results.scoreCharts import scoreCharts, showChart
from VCMSlicerLib.results.scoreNodes import exportScores, hasScores, scoreTable
from VCMSlicerLib.scene.sliceViews import showInSlices


class ResultDetails:
    """The buttons *Overlay* and *Scores*; `selected` gives the chosen row, `changed` hears of a new look."""

    def __init__(
        self, ui: Any, context: PanelContext, selected: Callable[[], ResultRow | None], changed: Callable[[], None]
    ) -> None:
        self.ui, self.context, self._selected, self._changed = ui, context, selected, changed
        ui.overlayButton.connect("clicked(bool)", self._onOverlay)
        ui.structuresTable.connect("itemSelectionChanged()", self._onStructure)
        makeMenu(
            ui.scoresButton,
            (
                (_("Chart of volumes"), _("Volumes obtained against volumes asked for."), lambda: self._chart(0)),
                (_("Chart of Dice"), _("Overlap by structure, with and without conditions."), lambda: self._chart(1)),
                (_("Table in the scene"), _("All figures as a table that is saved with the scene."), self._table),
                (_("CSV of all images…"), _("All figures of all images in the list, for other programs."), self._csv),
            ),
        )

    def update(self) -> None:
        """Show what can be done with the chosen result."""
        row, ui, overlay = self._selected(), self.ui, self.context.overlay
        can = row is not None and bool(comparables(row.node))
        ui.overlayButton.enabled = can or overlay.active
        ui.overlayButton.checked = overlay.active
        ui.scoresButton.enabled = row is not None and hasScores(row)
        ui.overlayLegendLabel.visible = overlay.active
        if overlay.active and overlay.node is not None:
            ui.overlayLegendLabel.text = legend(overlay.node)

    def onSelected(self) -> None:
        """Another result was chosen: its overlay takes the place of the one before."""
        if self.context.overlay.active:
            self._show()

    def closeOverlay(self) -> None:
        """Make room for another way of looking at results."""
        if self.context.overlay.active:
            self.context.overlay.close()

    def _onOverlay(self, checked: bool) -> None:
        if checked:
            self._show()
        else:
            self.context.overlay.close()
        self._changed()

    def _onStructure(self) -> None:
        if self.context.overlay.active:
            self._show()
            self._changed()

    def _show(self) -> None:
        row = self._selected()
        if row is None or not comparables(row.node):
            self.context.overlay.close()
            return
        self.context.comparison.close()
        self._guarded(lambda: self.context.overlay.show(row.node, self._structure(row)))
        showInSlices(background=row.node, foreground=None, label=None)

    def _structure(self, row: ResultRow) -> Comparable | None:
        """The structure that is chosen in the table; None for the first that can be laid over."""
        index = self.ui.structuresTable.currentRow()
        scores = row.alignment.classes if row.alignment is not None else ()
        if not 0 <= index < len(scores):
            return None
        chosen = (scores[index].condition, scores[index].name)
        return next((each for each in comparables(row.node) if (each.condition, each.name) == chosen), None)

    def _chart(self, index: int) -> None:
        if (row := self._selected()) is not None:
            self.context.comparison.close()  # a chart brings an arrangement of the views of its own
            self._guarded(lambda: showChart(scoreCharts(row)[index]))

    def _table(self) -> None:
        if (row := self._selected()) is None:
            return
        table = scoreTable(row)
        slicer.util.infoDisplay(
            _("{name} is in the module Data, in the folder of its run.").format(name=table.GetName()), _("Scores")
        )

    def _csv(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save the scores"), "synthetic-scores.csv", "CSV (*.csv)"
        )
        if path:
            self._guarded(lambda: exportScores(self.context.results.rows(), path))

    def _guarded(self, do: Callable[[], Any]) -> None:
        try:
            do()
        except (OSError, VcmError) as error:
            slicer.util.errorDisplay(str(error), _("Results"))


def legend(overlay: Any) -> str:
    """The parts of an overlay with their colours and volumes, as rich text."""
    words = {AGREED: _("agreed"), MISSED: _("missed"), EXTRA: _("extra")}
    volumes = partVolumes(overlay)
    parts = []
    for part, word in words.items():
        red, green, blue = (round(255 * value) for value in COLORS[part])
        square = f'<span style="color:#{red:02x}{green:02x}{blue:02x}">■</span>'
        parts.append(f"{square}&nbsp;{word} {volumes[part]:.1f} ml")
    return " &nbsp; ".join(parts)
