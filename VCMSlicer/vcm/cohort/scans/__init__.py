"""Real scans with their segmentations, brought in as cases."""
