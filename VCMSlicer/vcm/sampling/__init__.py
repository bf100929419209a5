"""From noise to a latent: the samplers, and the control of each of their steps."""
