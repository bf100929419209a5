"""Dialogs and small parts of the panel."""
