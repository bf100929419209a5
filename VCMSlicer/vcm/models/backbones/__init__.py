"""Pretrained latent diffusion models."""

from vcm.models.lean_monai import defer_monai

defer_monai()
