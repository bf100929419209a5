"""What conditions are drawn in, and what is given to the worker."""
