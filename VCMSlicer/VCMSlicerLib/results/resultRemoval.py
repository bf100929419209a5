"""Takes a result out of the scene with all that was made with it, so that its memory is free again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import slicer

from VCMSlicerLib.results.belongings import belongings
from VCMSlicerLib.results.results import CONTRAST, DIFFERENCE_REFERENCE, RUN, SEED, TWIN_REFERENCE
from VCMSlicerLib.scene.scene import removeNode


def removeResult(node: Any) -> None:
    """Remove a result, the image without conditions, their difference, its segmentations, scores and charts, and its
    place in the run's sequence; with the last result of a run also its folder and what it was asked for."""
    scene = slicer.mrmlScene
    hierarchy = scene.GetSubjectHierarchyNode()
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
    for sequence in list(_sequencesOf(node)):
        _leaveSequence(sequence, node)
    others = [node.GetNodeReference(role) for role in (TWIN_REFERENCE, DIFFERENCE_REFERENCE)]
    for each in (*(other for other in others if other is not None), *belongings(node), node):
        removeNode(each)
    if folder and folder != hierarchy.GetSceneItemID() and not hierarchy.GetNumberOfItemChildren(folder):
        hierarchy.RemoveItem(folder)


def _sequencesOf(node: Any) -> Iterator[Any]:
    for sequence in slicer.util.getNodesByClass("vtkMRMLSequenceNode"):
        if sequence.GetAttribute(RUN) == node.GetAttribute(RUN):
            yield sequence


def _leaveSequence(sequence: Any, node: Any) -> None:
    for index in reversed(range(sequence.GetNumberOfDataNodes())):
        other = sequence.GetNthDataNode(index)
        if all(other.GetAttribute(key) == node.GetAttribute(key) for key in (SEED, CONTRAST)):
            sequence.RemoveDataNodeAtValue(sequence.GetNthIndexValue(index))
    browsers = [
        browser
        for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
        if browser.GetMasterSequenceNode() is sequence
    ]
    if sequence.GetNumberOfDataNodes():
        for browser in browsers:
            browser.SetSelectedItemNumber(0)
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return
    for browser in browsers:
        proxy = browser.GetProxyNode(sequence)
        slicer.mrmlScene.RemoveNode(browser)
        if proxy is not None:
            removeNode(proxy)
    slicer.mrmlScene.RemoveNode(sequence)
