"""From a deformed label map to an image of some contrast: intensities, partial volume, texture, bias, noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.cohort.making.contrasts import Contrast
from vcm.cohort.making.head_maps import Head
from vcm.cohort.making.head_shape import Source, on_device, smallest
from vcm.cohort.making.label_maps import LabelTable

BLUR = (0.15, 0.7, 0.15)
NOISE = 1.5
"""Standard deviation of the scanner's noise, on the priors' scale of 0–255."""


@dataclass(frozen=True, eq=False)
class Look:
    """The numbers that give a head its contrast; one a label in `mean` and `texture`, on a scale of 0–255."""

    mean: NDArray[np.float32]
    texture: NDArray[np.float32]
    bias: NDArray[np.float32]
    noise_seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator, contrast: Contrast) -> Look:
        """Draw how a head looks in a contrast; labels of one row of its prior look alike."""
        prior = contrast.prior
        mean = prior.mean + rng.normal(size=len(prior.mean)) * prior.mean_sd.clip(max=40) * 0.5
        texture = prior.texture.clip(max=40) * 0.35
        mean[0] = texture[0] = 0.0
        return cls(
            mean=mean[contrast.row].astype(np.float32),
            texture=texture[contrast.row].astype(np.float32),
            bias=(rng.normal(size=(4, 4, 4)) * 0.10).astype(np.float32),
            noise_seed=int(rng.integers(2**62)),
        )

    def with_class(self, table: LabelTable, value: int, mean: float | None) -> Look:
        """The same look with another mean for the labels of a segmenter's class; None changes nothing."""
        if mean is None:
            return self
        return replace(self, mean=np.where(table.segmenter == value, np.float32(mean), self.mean))


@dataclass(frozen=True, eq=False)
class Blocks:
    """What lies in each voxel of the made head: label positions `[8, i, j, k]` of its eight parts of 1 mm."""

    labels: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> Blocks:
        """From label positions `[2i, 2j, 2k]` at 1 mm."""
        i, j, k = (n // 2 for n in labels.shape)
        return cls(labels.view(i, 2, j, 2, k, 2).permute(1, 3, 5, 0, 2, 4).reshape(8, i, j, k))

    def mean_of(self, value: Tensor) -> Tensor:
        """The mean over the eight parts of `value`, a number a label."""
        total = torch.zeros(self.labels.shape[1:], device=self.labels.device)
        for part in self.labels:
            total += value[part.int()]
        return total / 8

    def outside_skull(self, table: LabelTable) -> Tensor:
        """Whether most of a voxel lies in air, skull or scalp."""
        outside = on_device(table.outside.astype(np.float32), self.labels.device)
        return self.mean_of(outside) > 0.5

    def classes(self, table: LabelTable) -> tuple[Tensor, dict[int, float]]:
        """The segmenter's class of the most parts of each voxel, uint8, and the millilitres of each class."""
        winner, parts = self.count_classes(table)
        return winner, millilitres(parts)

    def count_classes(self, table: LabelTable) -> tuple[Tensor, Tensor]:
        """The segmenter's class of the most parts of each voxel, uint8, and how many parts each class has in all.

        Counts of all classes share one integer a voxel, four bits a class. Nothing here waits for a GPU.
        """
        weight = on_device(16**table.segmenter, self.labels.device)
        counts = torch.zeros(self.labels.shape[1:], dtype=torch.int64, device=self.labels.device)
        for part in self.labels:
            counts += weight[part.int()]
        best = torch.zeros_like(counts)
        winner = torch.zeros_like(counts, dtype=torch.uint8)
        parts = []
        for value in (0, *SEGMENTER_CLASSES):
            count = (counts >> (4 * value)) & 15
            parts.append(count.sum())
            winner.masked_fill_(count > best, value)
            best = torch.maximum(best, count)
        return winner, torch.stack(parts)


def labels_of(head: Head, source: Source) -> Tensor:
    """The made head's label positions at 1 mm, `[2i, 2j, 2k]`."""
    place = head.places(_refined(source.positions))
    within = head.depth.reshape(-1)[place] < source.surface
    labels = torch.where(within, head.grown.reshape(-1)[place], head.shrunk.reshape(-1)[place])
    box = _around(head.from_wall(source.before) < source.wall)
    beyond = head.from_wall(_refined(source.before[(slice(None), *box)])) >= _refined(source.wall[box][None])[0]
    part = labels[tuple(slice(2 * side.start, 2 * side.stop) for side in box)]
    part.masked_fill_(~beyond, head.ventricle)
    return labels


def _refined(field: Tensor) -> Tensor:
    """A field `[C, i, j, k]` at twice its resolution."""
    return functional.interpolate(field[None], scale_factor=2, mode="trilinear", align_corners=False)[0]


def _around(mask: Tensor, margin: int = 3) -> tuple[slice, ...]:
    """The box of a mask, a little larger."""
    box = []
    for axis in range(mask.ndim):
        others = [n for n in range(mask.ndim) if n != axis]
        found = mask.amax(others).nonzero() if mask.any() else torch.zeros(1)
        first, last = int(found.min()), int(found.max())
        box.append(slice(max(0, first - margin), min(mask.shape[axis], last + 1 + margin)))
    return tuple(box)


def millilitres(parts: Tensor) -> dict[int, float]:
    """Of each class, from its count of 1 mm parts."""
    return {value: count / 1000 for value, count in zip((0, *SEGMENTER_CLASSES), parts.tolist(), strict=True)}


def paint(look: Look, blocks: Blocks) -> Tensor:
    """The image `[i, j, k]` in 0–1, its 99.5th percentile at 1.

    Texture that is independent in each part averages to its root mean square over the voxel, divided by √8: one draw
    a voxel instead of eight, with the same distribution.
    """
    device = blocks.labels.device
    generator = torch.Generator(device).manual_seed(look.noise_seed)
    mean, texture = on_device(look.mean, device), on_device(look.texture, device)
    image = blocks.mean_of(mean)
    spread = (blocks.mean_of(texture**2) / 8).sqrt()
    image += spread * torch.randn(image.shape, generator=generator, device=device)
    image = blur(image[None, None])
    bias = on_device(look.bias, device)[None, None]
    image *= torch.exp(functional.interpolate(bias, image.shape[2:], mode="trilinear", align_corners=True))
    image += NOISE * torch.randn(image.shape, generator=generator, device=device)
    some = image.flatten()[::7]
    bright = smallest(some, round(0.995 * (len(some) - 1)) + 1)
    return (image / bright).clamp_(0, 1)[0, 0]


def blur(image: Tensor) -> Tensor:
    """The scanner's point spread along each axis of `[B, 1, i, j, k]`."""
    kernel = on_device(np.array(BLUR, np.float32), image.device)
    for axis in range(3):
        shape, padding = [1] * 5, [0] * 6
        shape[2 + axis] = 3
        padding[4 - 2 * axis : 6 - 2 * axis] = 1, 1
        image = functional.conv3d(functional.pad(image, padding, mode="replicate"), kernel.view(shape))
    return image
