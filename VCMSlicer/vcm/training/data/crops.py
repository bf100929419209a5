"""Parts of images that a step learns from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vcm.training.trainer.task import Slot

LEAST_BRIGHT, TRIES = 0.05, 8
"""A part darker than this in the mean is air, and another one is looked for so many times."""


def crops_of(images: Tensor, edge: int, slots: Sequence[Slot]) -> list[tuple[slice, ...]]:
    """For each slot the place of a cube of its image `[B, 1, i, j, k]` that is not air; 0 takes all of it."""
    sizes = [min(edge or n, n) for n in images.shape[2:]]
    return [_crop(image[0], sizes, slot) for image, slot in zip(images, slots, strict=True)]


def _crop(image: Tensor, sizes: Sequence[int], slot: Slot) -> tuple[slice, ...]:
    if sizes == list(image.shape):
        return tuple(slice(0, n) for n in sizes)
    for _ in range(TRIES):
        starts = [int(slot.uniform() * (n - size + 1)) for n, size in zip(image.shape, sizes, strict=True)]
        place = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        if image[place].mean() >= LEAST_BRIGHT:
            break
    return place
