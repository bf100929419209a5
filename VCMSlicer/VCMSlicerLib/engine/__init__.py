"""The worker's process and its client."""
