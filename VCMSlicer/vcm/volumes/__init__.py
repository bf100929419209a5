"""Volumes in files, and from Grid to Grid."""
