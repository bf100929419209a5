"""What a segmenter finds in a scan, kept to where heads have it.

A segmenter that learned from made heads now and then sees a structure far from any brain in a real scan: a dark strip
of marrow or dura as a ventricle, an orbit as a lesion, a chewing muscle as grey matter that hangs on the temporal lobe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import LESION
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template

REACH_MM = 10.0
"""A piece of a structure belongs to it that comes as near to the typical head's."""
FARTHEST_MM = 12.0
"""Nothing of a head lies farther from all structures of the typical one: of 60 made heads, at most 6 ml do."""
SEEN_ML = 0.5
"""With less of a structure a typical head, which is a mean and blurred, does not tell its place."""
INSIDE = 0.5
"""Of a lesion, which has no place of its own, so much must lie in the typical head's brain."""


def in_place(labels: Volume, template: Template) -> Volume:
    """Labels on the template's Grid in which pieces that lie elsewhere have become what surrounds them most; nothing is
    left outside the place of a head."""
    from scipy import ndimage

    found = np.array(labels.array)
    spacing = labels.grid.spacing
    found[ndimage.distance_transform_edt(template.labels.array == 0, sampling=spacing) > FARTHEST_MM] = 0
    away: list[tuple[tuple[slice, ...], NDArray[np.bool_]]] = []
    for value in np.unique(found[found != 0]):
        pieces, count = ndimage.label(found == value)
        if value == LESION:
            shares = ndimage.mean(template.brain, pieces, range(1, count + 1))
            kept = 1 + np.flatnonzero(np.asarray(shares) >= INSIDE)
        else:
            usual = template.labels.array == value
            if usual.sum() * labels.grid.voxel_ml < SEEN_ML:
                continue
            near = ndimage.distance_transform_edt(~usual, sampling=spacing) <= REACH_MM
            kept = np.unique(pieces[near])
        for number, box in enumerate(ndimage.find_objects(pieces), 1):
            if number not in kept:
                around = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in box)
                away.append((around, pieces[around] == number))
    for around, piece in away:
        found[around][piece] = 0
    for around, piece in away:
        shell = ndimage.binary_dilation(piece) & ~piece
        if shell.any():
            found[around][piece] = np.bincount(found[around][shell]).argmax()
    return Volume(found, labels.grid)
