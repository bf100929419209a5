"""The Segment Editor, live: Slicer's own editing logic, a brush for the mouse, and the widget's interface."""
