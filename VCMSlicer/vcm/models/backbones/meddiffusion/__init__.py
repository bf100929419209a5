"""3D MedDiffusion (Wang et al. 2025): a patch-volume autoencoder and a denoiser of two flows.

Written from a description of the published networks, whose code has no licence; names of weights are theirs.
"""
