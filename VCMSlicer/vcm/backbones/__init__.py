"""Pretrained latent diffusion models."""
