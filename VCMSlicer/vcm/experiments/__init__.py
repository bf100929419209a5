"""Comparisons of the kinds of control with each other and with the paper's figures."""
