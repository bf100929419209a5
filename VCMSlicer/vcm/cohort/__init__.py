"""Cases to learn from: made, or brought in from scans."""
