"""What the last request encoded and captured, kept for a next one with the same conditions and inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from vcm.conditions.condition import Condition
from vcm.core.volume import Volume
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control
from vcm.sampling.cuda_graph import GraphedDenoiser
from vcm.sampling.guidance import GuidedDenoiser, TwinDenoiser

Kept = GuidedDenoiser | GraphedDenoiser


class KeptDenoisers:
    """Makes the denoisers of one backbone and control, or gives those of before.

    Nothing that a denoiser was made from may have changed: conditions are compared by their voxels. `plan` is the name
    of the memory plan that they were made under.
    """

    def __init__(self, backbone: Backbone, device: torch.device, graphed: bool) -> None:
        self.backbone, self.device, self.graphed = backbone, device, graphed
        self.plan: str | None = None
        self._kept: dict[tuple[Hashable, ...], Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Let go of everything, and of its memory."""
        self._kept.clear()
        self.plan = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def denoisers(
        self,
        inputs: Sequence[Sequence[float]],
        controls: Sequence[Control | None],
        conditions: Sequence[Condition],
        *,
        with_twins: bool = False,
    ) -> list[Kept]:
        """One for each control (None is the backbone alone), with these raw inputs, a row for each latent of a batch or
        one for all; no others are kept. Conditions that those kept have encoded are not encoded again.

        One `with_twins` takes the latents of as many twins without control behind those with it.
        """
        given = tuple(_key(condition) for condition in conditions)
        rows = tuple(map(tuple, inputs))
        keys = [(rows, id(control), given if control else (), with_twins) for control in controls]
        before = {key[1:3]: _plain(kept).state for key, kept in self._kept.items()}
        self._kept = {key: self._kept[key] for key in keys if key in self._kept}
        raw = torch.tensor(rows, dtype=torch.float32).to(self.device)
        for key, control in zip(keys, controls, strict=True):
            if key not in self._kept:
                kind = TwinDenoiser if with_twins else GuidedDenoiser
                denoiser = kind(self.backbone, raw, control, conditions, before.get(key[1:3]))
                self._kept[key] = GraphedDenoiser(denoiser) if self.graphed else denoiser
        return [self._kept[key] for key in keys]


def _plain(kept: Kept) -> GuidedDenoiser:
    return kept.denoiser if isinstance(kept, GraphedDenoiser) else kept


def _key(condition: Condition) -> Hashable:
    """All of a condition that matters for sampling."""
    shares = condition.strength, condition.start, condition.end
    return condition.spec, *shares, _digest(condition.volume), condition.region and _digest(condition.region)


def _digest(volume: Volume) -> Hashable:
    array = np.ascontiguousarray(volume.array)
    voxels = hashlib.blake2b(array.data, digest_size=16).digest()
    return voxels, array.shape, array.dtype.str, volume.grid.affine.tobytes()
