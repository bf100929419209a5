"""What a model accepts, and what was given to it."""
