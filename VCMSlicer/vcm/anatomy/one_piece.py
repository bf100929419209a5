"""The largest piece of a label map: a head's structures hang together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest_piece(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The labels of the largest piece; other pieces, and what hangs on it by a thread, become 0.

    >>> row = np.zeros((3, 3, 12), np.uint8); row[:, :, :6] = 2; row[1, 1, 6:8] = 1; row[:, :, 8:12] = 3
    >>> largest_piece(np.pad(row, 1))[2, 2].tolist()
    [0, 2, 2, 2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0]
    """
    from scipy import ndimage

    core = ndimage.binary_erosion(labels != 0)
    pieces, count = ndimage.label(core)
    if count == 0:
        return labels
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    around = ndimage.generate_binary_structure(3, 3)
    kept = ndimage.binary_dilation(pieces == sizes.argmax(), around, iterations=2)
    return np.where(kept, labels, np.uint8(0))
