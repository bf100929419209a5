"""How well a Sample obeys, and where it lies."""
