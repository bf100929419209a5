"""Heads made from label maps."""
