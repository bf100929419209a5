"""MAISI: NVIDIA's open generators of CT and of MR of the brain."""
