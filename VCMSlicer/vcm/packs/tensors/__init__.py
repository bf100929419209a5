"""Tensors in the files of packs and checkpoints."""
