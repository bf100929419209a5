"""Where in a grid each structure can lie, learned from label maps: a segmenter that works on small parts of an image
takes a muscle of the neck for white matter, which no head has there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

CELL = 4
"""Voxels along each edge of the cells that are told apart."""
MOST_LABELS = 31

Places = NDArray[np.int32]
"""For each cell, bit n says whether the label n can occur in it; 0 is the background, which can occur everywhere."""


def usual_places(label_maps: Iterable[NDArray[np.integer]]) -> Places:
    """The cells in which any of the label maps, all of one grid, has a label, and the cells beside these.

    >>> first, second = np.zeros((2, 4, 4, 16), np.uint8)
    >>> first[0, 0, 0] = 1; second[3, 3, 15] = 2
    >>> usual_places([first, second]).ravel().tolist()
    [3, 3, 5, 5]
    """
    from scipy import ndimage

    cells: dict[int, NDArray[np.bool_]] = {}
    sizes: tuple[int, ...] = ()
    for labels in label_maps:
        blocks = _blocks(np.asarray(labels))
        sizes = blocks.shape[:3]
        for label in np.unique(labels):
            found = (blocks == label).any(axis=3)
            cells[int(label)] = cells.get(int(label), np.zeros(sizes, bool)) | found
    if cells and max(cells) > MOST_LABELS - 1:
        raise ValueError(f"Labels go up to {MOST_LABELS - 1}, not {max(cells)}.")
    places = np.ones(sizes, np.int32)
    for label, found in cells.items():
        if label:
            places |= ndimage.binary_dilation(found).astype(np.int32) << label
    return places


def cells_of(shape: Iterable[int]) -> tuple[int, ...]:
    """How many cells a grid has along each axis; the last ones may reach beyond it.

    >>> cells_of((88, 113, 3))
    (22, 29, 1)
    """
    return tuple(-(-size // CELL) for size in shape)


def _blocks(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """The voxels of each cell, `[i, j, k, voxels]`; what reaches beyond the grid is background."""
    padded = np.pad(labels, [(0, -size % CELL) for size in labels.shape])
    i, j, k = cells_of(labels.shape)
    split = padded.reshape(i, CELL, j, CELL, k, CELL).transpose(0, 2, 4, 1, 3, 5)
    return split.reshape(i, j, k, CELL**3)
