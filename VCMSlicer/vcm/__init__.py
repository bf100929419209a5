"""VCM: steer a frozen latent diffusion model of the brain with volumes. Research software, never a diagnostic."""

__version__ = "0.1.0"
