"""Weights of 3D MedDiffusion made from a rule, the numbers that its published networks give with them, and files of
checkpoints as the authors write them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

# The numbers are no part of the repository: they lie beside it, or where VCM_REFERENCE says.
BESIDE = Path(__file__).resolve().parents[4] / "shared" / "reference"
REFERENCE = Path(os.environ.get("VCM_REFERENCE", BESIDE)) / "meddiffusion"
THERE = (REFERENCE / "expected.safetensors").exists()
ABSENT = "the published networks' numbers are not on this machine"
SEED = 11

TINY_AUTOENCODER = {
    "n_hiddens": 8,
    "embedding_dim": 3,
    "n_codes": 32,
    "downsample": 4,
    "num_groups": 4,
    "patch_size": 16,
}
TINY_DENOISER = {
    "dim": 12, "dim_mults": (1, 1, 2), "channels": 3, "cond_classes": 4, "use_sparse_linear_attn": (0, 0, 1),
    "patch_size": 2, "sub_volume_size": 4, "vq_size": 16, "attn_heads": 2, "resnet_groups": 4,
}  # fmt: skip


def shapes_of(name: str) -> dict[str, list[int]]:
    """The published network's keys with their shapes."""
    found: dict[str, dict[str, list[int]]] = json.loads((REFERENCE / "keys.json").read_text())
    return found[name]


def expected() -> dict[str, torch.Tensor]:
    """What the published networks give."""
    return load_file(REFERENCE / "expected.safetensors")


def _filled(shapes: Mapping[str, list[int]], seed: int) -> Iterator[tuple[str, np.ndarray]]:
    for key, shape in shapes.items():
        if key.endswith("pos_embed"):
            continue
        rng = np.random.Generator(np.random.PCG64([seed, int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)]))
        x = rng.standard_normal(shape).astype(np.float32)
        if key.endswith("gamma"):
            x = np.float32(1) + np.float32(0.1) * rng.standard_normal(shape).astype(np.float32)
        elif len(shape) >= 2:
            x = x * np.float32(0.7 / np.sqrt(np.prod(shape[1:])))
        else:
            x = x * np.float32(0.1) + np.float32("norm" in key and key.endswith("weight"))
        yield key, x


def noise(shape: tuple[int, ...], tag: int, seed: int = SEED) -> torch.Tensor:
    """Numbers from a normal distribution by the reference's rule."""
    rng = np.random.Generator(np.random.PCG64([seed, tag]))
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def weights(network: torch.nn.Module, seed: int = SEED) -> dict[str, torch.Tensor]:
    """Weights for a network by the reference's rule; what the rule leaves alone stays as it was built."""
    state = dict(network.state_dict())
    state |= {key: torch.from_numpy(np.asarray(x)) for key, x in _filled({k: v.shape for k, v in state.items()}, seed)}
    if "codebook.embeddings" in state:
        state["codebook.embeddings"] = 0.5 * noise(tuple(state["codebook.embeddings"].shape), 77, seed)
    return state


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference in standard deviations of what is wanted."""
    return float((found - wanted).abs().max() / wanted.float().std())


def write_checkpoints(
    folder: Path, autoencoder: torch.nn.Module, denoiser: torch.nn.Module, seed: int = SEED
) -> list[str]:
    """The two files as the authors write them, with what stands beside the weights; as options of an import."""
    from argparse import Namespace

    folder.mkdir(exist_ok=True)
    first, second = folder / "autoencoder.ckpt", folder / "denoiser.pt"
    beside = {"volume_discriminator.model.0.weight": torch.ones(4), "perceptual_loss.net.bias": torch.ones(2)}
    torch.save(
        {"state_dict": {**weights(autoencoder, seed), **beside}, "hyper_parameters": {"a": 1}, "epoch": 9}, first
    )
    averaged = weights(denoiser, seed)
    newest = {name: tensor + 1 for name, tensor in averaged.items()}
    torch.save({"model": newest, "ema": averaged, "opt": {"state": {}}, "scaler": {}, "args": Namespace(a=1)}, second)
    return ["--family=meddiffusion", f"--autoencoder={first}", f"--denoiser={second}"]
