"""Importing it makes `slicer.qMRMLSegmentEditorWidget` known in Slicer; here it always is."""

from slicer import qMRMLSegmentEditorWidget, qMRMLSegmentSelectorWidget, qMRMLSegmentsTableView

__all__ = ["qMRMLSegmentEditorWidget", "qMRMLSegmentSelectorWidget", "qMRMLSegmentsTableView"]
