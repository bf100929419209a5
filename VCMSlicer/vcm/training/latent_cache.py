"""What a control learns from, computed once: whitened latents, their left–right mirror images, conditions, attributes.

One file a case, so that an interrupted run goes on where it stopped and a damaged file is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from vcm.atomic_files import atomic_path
from vcm.backbones.backbone import Backbone
from vcm.errors import Code, VcmError
from vcm.training.cohort_files import ATTRIBUTES, CaseEntry
from vcm.training.label_maps import EXTRAVENTRICULAR_CSF, VENTRICLES

FLIP_AXIS = 0
"""The array axis that runs left to right on the backbones' LAS grids."""

MASKS: dict[str, Callable[[NDArray[Any]], NDArray[np.bool_]]] = {
    "ventricles": lambda labels: labels == VENTRICLES,
    "brain": lambda labels: (labels > 0) & (labels != EXTRAVENTRICULAR_CSF),
}
"""The mask conditions of a case, from its labels."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Latents `[B, *latent_shape]`, conditions `{name: [B, 1, i, j, k]}` of 0 and 1, raw attributes `[B, n]`."""

    latent: Tensor
    conditions: dict[str, Tensor]
    attributes: Tensor


def write_cache(
    backbone: Backbone,
    fingerprint: str,
    cases: Sequence[CaseEntry],
    conditions: Iterable[str],
    folder: Path,
) -> Iterator[CaseEntry]:
    """Cache each case that is not cached yet. `fingerprint` is the SHA-256 of the backbone's autoencoder."""
    conditions = tuple(conditions)
    for case in cases:
        path = folder / f"{case.name}.safetensors"
        if not _is_current(path, fingerprint, conditions):
            tensors = encode_case(backbone, case, conditions)
            with atomic_path(path) as temporary:
                save_file(tensors, temporary, metadata={"autoencoder": fingerprint})
        yield case


@torch.no_grad()
def encode_case(backbone: Backbone, case: CaseEntry, conditions: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of one case: latents `[2, *latent_shape]` (as it is, mirrored) in fp16, packed masks, attributes."""
    image, labels = case.read("image"), case.read("labels").array
    if not image.grid.same_as(backbone.grid):
        raise VcmError(
            Code.GEOMETRY,
            f"Case {case.name} lies on a grid of {image.grid.shape} voxels, the backbone's has {backbone.grid.shape} "
            "or lies elsewhere.",
            "Make the cohort from label maps on the backbone's grid at twice its resolution.",
        )
    plain = torch.from_numpy(image.array.astype(np.float32))
    pair = torch.stack([plain, plain.flip(FLIP_AXIS)])[:, None]
    with torch.autocast(pair.device.type, torch.bfloat16):
        latents = torch.cat([backbone.encode(one) for one in pair.split(1)])
    masks = {f"mask.{name}": torch.from_numpy(np.packbits(MASKS[name](labels))) for name in conditions}
    values = torch.tensor([case.attributes[name] for name in ATTRIBUTES])
    return {"latents": latents.half().contiguous(), "attributes": values, **masks}


class LatentCache:
    """A folder of cached cases in memory: item 2n is case n, item 2n + 1 its mirror image."""

    def __init__(
        self, folder: Path, names: Sequence[str], conditions: Sequence[str], shape: tuple[int, int, int]
    ) -> None:
        self.conditions, self.shape = tuple(conditions), shape
        latents, attributes = [], []
        masks: dict[str, list[Tensor]] = {name: [] for name in conditions}
        for name in names:
            with safe_open(folder / f"{name}.safetensors", "pt") as file:
                latents.append(file.get_tensor("latents"))
                attributes.append(file.get_tensor("attributes"))
                for condition in conditions:
                    masks[condition].append(file.get_tensor(f"mask.{condition}"))
        self.latents = torch.cat(latents)
        self.attributes = torch.stack(attributes)
        self.masks = {name: torch.stack(packed) for name, packed in masks.items()}

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, items: Sequence[int], device: torch.device | str = "cpu") -> Batch:
        """The items as one batch, in fp32."""
        chosen = torch.as_tensor(items)
        conditions = {
            name: torch.stack([self._mask(name, item) for item in chosen.tolist()]).to(device)
            for name in self.conditions
        }
        return Batch(self.latents[chosen].to(device).float(), conditions, self.attributes[chosen // 2].to(device))

    def typical(self, condition: str, shape: tuple[int, int, int]) -> Tensor:
        """The mean of a mask over all items, as `[1, *shape]` on a coarser grid of the same field of view."""
        total = torch.zeros(1, *self.shape)
        for item in range(len(self)):
            total += self._mask(condition, item)
        return functional.adaptive_avg_pool3d(total / len(self), shape)

    def _mask(self, condition: str, item: int) -> Tensor:
        bits = np.unpackbits(self.masks[condition][item // 2].numpy(), count=int(np.prod(self.shape)))
        mask = torch.from_numpy(bits.reshape(self.shape)).float()
        return (mask.flip(FLIP_AXIS) if item % 2 else mask)[None]


def _is_current(path: Path, fingerprint: str, conditions: tuple[str, ...]) -> bool:
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            there = set(file.keys())
            metadata = file.metadata() or {}
    except (OSError, SafetensorError):
        return False
    return metadata.get("autoencoder") == fingerprint and {f"mask.{name}" for name in conditions} <= there
