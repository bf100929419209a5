"""A family of backbones and a kind of control from someone else's hand: nothing in VCMSlicer knows of them.

The backbone predicts clean latents of two channels under a noising of its own, on a grid that shrinks differently along
each axis, with one number and one choice as inputs. The control adds a residual to the middle of its network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.backbone import Backbone, Residuals, Site, Sites
from vcm.models.controls.control import Control
from vcm.models.process import Process
from vcm.models.weights import load

SHRINKS = (2, 3, 4)


@dataclass(frozen=True, eq=False)
class Sine(Process):
    """α = cos φ and σ = sin φ, with φ rising evenly to a quarter turn; networks predict the clean latent."""

    timesteps: int = 1000
    kind: str = "toy-sine"
    prediction: str = "clean"
    last: int = 5

    guided = "clean"

    def level(self, t: float) -> tuple[float, float]:
        turn = t / self.timesteps * math.pi / 2
        return math.cos(turn), math.sin(turn)

    def levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        turn = (t.float() / self.timesteps * math.pi / 2)[:, None, None, None, None]
        return turn.cos(), turn.sin()

    def log_snr_range(self) -> tuple[float, float]:
        first, last = (self.level(t) for t in (self.first, self.last))
        return math.log(first[0] / first[1]), math.log(last[0] / last[1])

    def levels_of(self, half_log_snr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        turn = np.arctan(np.exp(-half_log_snr))
        return np.cos(turn), np.sin(turn)

    def timestep_of(self, half_log_snr: float) -> float:
        return math.atan(math.exp(-half_log_snr)) / (math.pi / 2) * self.timesteps


class Pooling(nn.Module):
    """An autoencoder with one weight: means of blocks, and what is left to the largest voxel of each."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((1,), 2.0))

    def encode(self, image: Tensor) -> Tensor:
        mean = functional.avg_pool3d(image, SHRINKS)
        return torch.cat([mean, functional.max_pool3d(image, SHRINKS) - mean], dim=1) * self.gain

    def decode(self, latent: Tensor) -> Tensor:
        return functional.interpolate(latent[:, :1] / self.gain, scale_factor=SHRINKS)


class Denoiser(nn.Module):
    """The clean latent, from the noisy one, the time and the inputs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv3d(5, width, 3, padding=1), nn.Conv3d(width, 2, 3, padding=1)

    def forward(self, latent: Tensor, t: Tensor, inputs: Tensor, middle: Tensor | None) -> Tensor:
        planes = torch.cat([t[:, None] / 1000, inputs], dim=1)[:, :, None, None, None].expand(-1, -1, *latent.shape[2:])
        h = functional.silu(self.first(torch.cat([latent, planes], dim=1).to(self.first.weight.dtype)))
        return self.last(h if middle is None else h + middle.to(h.dtype)).float()


class ToyBackbone(Backbone):
    """The backbone of a pack whose manifest says `"family": "toy"`."""

    takes_residuals = True

    def __init__(self, manifest, autoencoder: Pooling, denoiser: Denoiser) -> None:
        super().__init__()
        self.grid, self.latent_shape, self.process = manifest.grid, manifest.latent.shape, manifest.process
        self.attributes, self.autoencoder, self.denoiser = manifest.attributes, autoencoder, denoiser

    @classmethod
    def load(cls, pack) -> ToyBackbone:
        width = pack.backbone.networks["denoiser"]["width"]
        return cls(
            pack.backbone, load(pack, "autoencoder", Pooling), load(pack, "denoiser", lambda: Denoiser(width))
        ).eval()

    @classmethod
    def outline(cls, manifest) -> ToyBackbone:
        return cls(manifest, Pooling(), Denoiser(manifest.networks["denoiser"]["width"]))

    @classmethod
    def sites(cls, manifest) -> Sites:
        _, i, j, k = manifest.latent.shape
        return Sites((), Site(manifest.networks["denoiser"]["width"], (i, j, k)))

    def encode(self, image: Tensor) -> Tensor:
        return self.autoencoder.encode(image).float()

    def decode(self, latent: Tensor, scale_factor: float | None = None) -> Tensor:
        return self.autoencoder.decode(latent).float()

    def predict(self, latent: Tensor, t: Tensor, inputs: Tensor, residuals: Residuals | None = None) -> Tensor:
        return self.denoiser(latent, t, inputs, None if residuals is None else residuals.middle)


class ToyControl(Control):
    """Adds what a convolution makes of the conditions to the middle of the backbone's network."""

    needs_residuals = True

    def __init__(self, network: nn.Module, conditions: Sequence[ConditionSpec], scale_factor: float | None) -> None:
        super().__init__()
        self.network, self.conditions, self.scale_factor = network, tuple(conditions), scale_factor

    @classmethod
    def create(cls, networks: Mapping[str, Any], conditions, scale_factor=None) -> ToyControl:
        channels = sum(spec.channels for spec in conditions)
        network = nn.Conv3d(channels, networks["width"], SHRINKS, stride=SHRINKS)
        nn.init.zeros_(network.weight)
        nn.init.zeros_(network.bias)
        return cls(network, conditions, scale_factor)

    @classmethod
    def configure(cls, manifest, conditions, variant, changes) -> dict[str, Any]:
        return {"variant": "toy", "width": manifest.networks["denoiser"]["width"], **changes}

    def prepare(self, conditions: Mapping[str, Tensor], subsets) -> dict[frozenset[str], Tensor]:
        made = {}
        for subset in subsets:
            parts = [c if name in subset else torch.zeros_like(c) for name, c in conditions.items()]
            made[subset] = self.network(torch.cat(parts, dim=1).to(self.network.weight.dtype))
        return made

    def guide(self, step, state, active: frozenset[str]) -> Tensor:
        return step.predict(residuals=Residuals(middle=state[active]))
