"""The Slicer module's panels and their logic; of the engine it imports the words alone, and never torch."""
