"""What everything rests on: errors, grids, volumes, reading."""
