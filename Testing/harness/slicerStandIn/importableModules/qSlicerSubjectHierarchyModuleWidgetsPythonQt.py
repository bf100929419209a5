"""Importing it makes the subject hierarchy's widgets known in Slicer; here they always are."""

from slicer import qMRMLSubjectHierarchyTreeView

__all__ = ["qMRMLSubjectHierarchyTreeView"]
