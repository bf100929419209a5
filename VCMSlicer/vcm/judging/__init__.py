"""Alignment of a Sample with its conditions, and where it lies."""
