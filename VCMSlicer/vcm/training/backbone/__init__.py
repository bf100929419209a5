"""Training the networks of a backbone."""
