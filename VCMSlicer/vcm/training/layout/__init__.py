"""Training a layout: its autoencoder of label maps, then the denoiser that forms heads around what is given."""
