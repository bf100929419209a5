"""Slice and 3D views that really render, off-screen, inside a window laid out as Slicer's."""
