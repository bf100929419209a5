"""A whole run, from files to files."""
