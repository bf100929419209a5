"""Training a control."""
