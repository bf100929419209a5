"""`vcm bench`: the released way and the engine, side by side."""
