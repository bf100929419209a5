"""Where a scan lies relative to a template head, when its labels are known: they give the starts, rigid or affine.

The optimisation is `vcm.registration`'s. Points are RAS millimetres. A pose never mirrors: what is left in the scan is
left in the template.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.anatomy.structures import EXTRAVENTRICULAR_CSF, LESION, SEGMENTER_CLASSES
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template, brain_of
from vcm.registration.optimising import COARSE, FINE, Optimiser, box_around
from vcm.registration.pose import Pose
from vcm.registration.reference import MARGIN_MM
from vcm.volumes.brightness import brightness
from vcm.volumes.resampling import resample_image, resample_labels

KINDS = ("rigid", "affine", "none")
COARSE_MM, HEAD_MM, HEAD_SHARE, HEAD_INTENSITY = 4.0, 20.0, 0.1, 0.1
"""A scan shows a head where, within so many mm of what is labelled, tissue that bright makes up this share of it."""


def register(image: Volume, labels: Volume, template: Template, kind: str, *, whole: bool = True) -> Pose:
    """The pose that brings a scan onto the template. `labels` holds the segmenter's classes and may be on a Grid of its
    own; it gives the starts. A scan that does not show the `whole` head is laid on the template's brain alone."""
    if kind == "none":
        return Pose.nowhere()
    reference = template.reference
    if not whole:
        array = np.where(template.labels.array != 0, template.image.array, 0)
        reference = replace(reference, image=Volume(array, template.image.grid))
    optimiser = Optimiser(image, reference)
    tried = [optimiser.improved(start, COARSE) for start in starts(labels, template)]
    best = min(tried, key=lambda found: found.metric)
    found = optimiser.improved(best.pose, FINE)
    if kind == "affine":
        found = optimiser.improved(found.pose, FINE, affine=True)
    return found.pose


def shows_a_head(image: Volume, labels: Volume) -> bool:
    """Whether there is tissue around what is labelled."""
    grid = box_around(image.grid, COARSE_MM)
    seen = resample_image(image, grid).array.astype(np.float32)
    labelled = sitk.GetImageFromArray((resample_labels(labels, grid).array != 0).astype(np.uint8).T)
    near, far = (
        sitk.GetArrayFromImage(sitk.BinaryDilate(labelled, [round(mm / COARSE_MM)] * 3)).T.astype(bool)
        for mm in (MARGIN_MM, MARGIN_MM + HEAD_MM)
    )
    bright = brightness(seen[seen > 0]) or 1.0
    around = (seen > HEAD_INTENSITY * bright) & far & ~near
    return bool(around.sum() > HEAD_SHARE * near.sum())


def starts(labels: Volume, template: Template) -> list[Pose]:
    """Where to begin: the scan as its file says it is turned, with the brains' centres on each other; and, where the
    two have four structures or more in common, with the centres of these laid on each other (Kabsch 1976), which finds
    its way from any tilt but is misled by a poor segmentation."""
    centred = np.eye(4)
    centred[:3, 3] = _middle(template.labels.grid, template.brain) - _middle(labels.grid, brain_of(labels.array))
    values = [
        value
        for value in SEGMENTER_CLASSES
        if value not in (EXTRAVENTRICULAR_CSF, LESION)
        and (labels.array == value).any()
        and (template.labels.array == value).any()
    ]
    if len(values) < 4:
        return [Pose(centred)]
    own, theirs = (np.array([_middle(v.grid, v.array == n) for n in values]) for v in (labels, template.labels))
    left, _, right = np.linalg.svd((own - own.mean(axis=0)).T @ (theirs - theirs.mean(axis=0)))
    turn = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    turned = np.eye(4)
    turned[:3, :3] = (left @ turn @ right).T
    turned[:3, 3] = theirs.mean(axis=0) - turned[:3, :3] @ own.mean(axis=0)
    return [Pose(centred), Pose(turned)]


def _middle(grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return grid.to_world(np.argwhere(mask).mean(axis=0))
