"""What belongs to a result and goes with it: its segmentations, overlay, scores and charts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from VCMSlicerLib.results.measuredSegmentation import ASKED_REFERENCE, LAYOUT_REFERENCE, MEASURED_REFERENCE
from VCMSlicerLib.results.overlay import OVERLAY_REFERENCE
from VCMSlicerLib.results.results import SAMPLE_ROLE, nodesWithRole
from VCMSlicerLib.results.scoreCharts import CHART_REFERENCE, PARTS_REFERENCE
from VCMSlicerLib.results.scoreNodes import SCORES_REFERENCE

OWN = (MEASURED_REFERENCE, OVERLAY_REFERENCE, CHART_REFERENCE, PARTS_REFERENCE, SCORES_REFERENCE)
SHARED = (ASKED_REFERENCE, LAYOUT_REFERENCE)


def belongings(node: Any) -> list[Any]:
    """The nodes that go when a result is removed; what its run was asked for, and a completed head that results share,
    go with the last of them."""
    found = [other for role in OWN for other in _referenced(node, role)]
    others = [other for other in nodesWithRole(SAMPLE_ROLE) if other is not node]
    for role in SHARED:
        shared = node.GetNodeReference(role)
        if shared is not None and not any(other.GetNodeReference(role) is shared for other in others):
            found.append(shared)
    return found


def _referenced(node: Any, role: str) -> Iterator[Any]:
    for index in range(node.GetNumberOfNodeReferences(role)):
        other = node.GetNthNodeReference(role, index)
        if other is not None:
            yield other
