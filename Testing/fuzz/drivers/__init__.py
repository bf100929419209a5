"""Each driver has `run(case)`, which gives the number of cases it made and what it found in them."""
