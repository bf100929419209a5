"""Pictures and reports of Samples, for people."""
