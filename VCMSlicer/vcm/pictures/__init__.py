"""Pictures of Samples, for people."""
