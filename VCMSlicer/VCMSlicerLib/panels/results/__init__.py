"""The section “Results”."""
