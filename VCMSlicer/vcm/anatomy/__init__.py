"""What is known about heads and brains."""
