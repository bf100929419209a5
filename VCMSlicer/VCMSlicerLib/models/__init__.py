"""Which models there are, what they accept, and getting more."""
