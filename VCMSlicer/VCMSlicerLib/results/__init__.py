"""Samples in the scene, and what is made of them."""
