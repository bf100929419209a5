"""The engine as a process of its own: requests as JSON lines on stdin, answers as JSON lines on stdout."""
