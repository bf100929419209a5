"""What is learned from: latents, images and conditions, kept ready."""
