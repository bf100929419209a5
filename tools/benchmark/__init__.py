"""The released way and the engine, side by side."""
