"""Images and nodes of the scene."""
