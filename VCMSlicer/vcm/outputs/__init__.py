"""The one door through which the program writes files; docs/architecture.md tells how it works."""
