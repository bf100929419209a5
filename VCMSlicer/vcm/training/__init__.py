"""Learning: cohorts, latent caches and the trainers."""
