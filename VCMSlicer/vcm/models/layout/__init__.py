"""Layouts: networks that complete what is drawn to the label map of a whole head."""
