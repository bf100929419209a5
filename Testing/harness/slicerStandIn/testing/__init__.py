"""For tests: fixtures, the event loop, the mouse, screenshots, and failing on what Qt would only print."""
