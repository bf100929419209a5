"""Setting up the worker's environment."""
