"""Where a scan lies relative to a template head: rigid or affine, by mutual information from a start that labels give.

Points are RAS millimetres. A pose never mirrors: what is left in the scan is left in the template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.grid import Grid
from vcm.training.label_maps import EXTRAVENTRICULAR_CSF, LESION, SEGMENTER_CLASSES
from vcm.volume import Volume
from vcm.volumes.resampling import resample_image, resample_labels
from vcm.volumes.volume_files import LPS, to_image

KINDS = ("rigid", "affine", "none")
SPACING_MM = 2.0
"""Spacing at which the scan is looked at."""
MARGIN_MM = 8.0
"""How far around the template's brain the images are compared: skull included, face and neck not."""
COARSE, FINE = ((4, 4.0),), ((2, 2.0), (1, 0.0))
"""Shrink factor and smoothing (mm) of each resolution: those that starts are told apart by, and the rest."""
BINS, STEPS = 32, 120
COARSE_MM, HEAD_MM, HEAD_SHARE, HEAD_INTENSITY = 4.0, 20.0, 0.1, 0.1
"""A scan shows a head where, within so many mm of what is labelled, tissue that bright makes up this share of it."""


@dataclass(frozen=True, eq=False)
class Template:
    """A head where heads should lie: its image, and its labels in the segmenter's classes on the same Grid."""

    image: Volume
    labels: Volume
    source: str

    @property
    def brain(self) -> NDArray[np.bool_]:
        return brain_of(self.labels.array)


@dataclass(frozen=True, eq=False)
class Pose:
    """The affine from a scan's own millimetres to the template's."""

    matrix: NDArray[np.float64]

    def applied(self, volume: Volume) -> Volume:
        """The same voxels where they lie in the template's space."""
        return Volume(volume.array, Grid(volume.grid.shape, self.matrix @ volume.grid.affine))

    @property
    def degrees(self) -> float:
        """By how much it turns."""
        left, _, right = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1))))

    @property
    def scales(self) -> tuple[float, float]:
        """The smallest and the largest factor by which it stretches."""
        stretch = np.linalg.svd(self.matrix[:3, :3], compute_uv=False)
        return float(stretch.min()), float(stretch.max())

    def shift_of(self, point: NDArray[np.float64]) -> float:
        """How far it moves a point of the template's space, millimetres."""
        return float(np.linalg.norm(self.matrix[:3, :3] @ point + self.matrix[:3, 3] - point))


def brain_of(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which voxels of the segmenter's classes are brain: all but the CSF around it."""
    return np.asarray((labels != 0) & (labels != EXTRAVENTRICULAR_CSF))


def register(image: Volume, labels: Volume, template: Template, kind: str, *, whole: bool = True) -> Pose:
    """The pose that brings a scan onto the template. `labels` holds the segmenter's classes and may be on a Grid of its
    own; it gives the starts. A scan that does not show the `whole` head is laid on the template's brain alone."""
    if kind == "none":
        return Pose(np.eye(4))
    seen = template.image.array if whole else np.where(template.labels.array != 0, template.image.array, 0)
    fixed = to_image(seen.astype(np.float32), template.image.grid)
    mask = _around_brain(template)
    tried = [_from_start(start, image, fixed, mask) for start in starts(labels, template)]
    best = min(tried, key=lambda attempt: attempt.metric)
    found, _ = _optimised(fixed, best.moving, mask, best.transform, FINE)
    if kind == "affine":
        affine = sitk.AffineTransform(3)
        affine.SetCenter(found.GetCenter())
        affine.SetMatrix(found.GetMatrix())
        affine.SetTranslation(found.GetTranslation())
        found, _ = _optimised(fixed, best.moving, mask, affine, FINE)
    return Pose(np.linalg.inv(LPS @ _matrix(found.TransformPoint) @ LPS) @ best.start.matrix)


def shows_a_head(image: Volume, labels: Volume) -> bool:
    """Whether there is tissue around what is labelled."""
    grid = _box(image, COARSE_MM)
    seen = resample_image(image, grid).array.astype(np.float32)
    labelled = sitk.GetImageFromArray((resample_labels(labels, grid).array != 0).astype(np.uint8).T)
    near, far = (
        sitk.GetArrayFromImage(sitk.BinaryDilate(labelled, [round(mm / COARSE_MM)] * 3)).T.astype(bool)
        for mm in (MARGIN_MM, MARGIN_MM + HEAD_MM)
    )
    bright = float(np.percentile(seen[seen > 0], 99.5)) if (seen > 0).any() else 1.0
    around = (seen > HEAD_INTENSITY * bright) & far & ~near
    return bool(around.sum() > HEAD_SHARE * near.sum())


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A start, the scan moved there, and what the coarse resolution makes of it; a lower metric is better."""

    start: Pose
    moving: Any
    transform: Any
    metric: float


def _from_start(start: Pose, image: Volume, fixed: Any, mask: Any) -> _Attempt:
    moving = _upright(start.applied(image))
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    return _Attempt(start, moving, *_optimised(fixed, moving, mask, rigid, COARSE))


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


def _optimised(
    fixed: Any, moving: Any, mask: Any, start: Any, levels: tuple[tuple[int, float], ...]
) -> tuple[Any, float]:
    """`start` after its optimisation, and the metric there."""
    method = sitk.ImageRegistrationMethod()
    # On several threads sums are added in another order each time, and a pose would not be the same twice.
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, STEPS, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in levels])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, True)
    method.Execute(fixed, moving)
    return start, float(method.GetMetricValue())


def _upright(image: Volume) -> Any:
    grid = _box(image, SPACING_MM)
    return to_image(resample_image(image, grid).array.astype(np.float32), grid)


def _box(image: Volume, spacing_mm: float) -> Grid:
    """A Grid along the axes of the patient that holds all of an image."""
    corners = image.grid.to_world(np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in image.grid.shape])).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = low + spacing_mm / 2
    return Grid(np.ceil((high - low) / spacing_mm).clip(1), affine)


def _around_brain(template: Template) -> Any:
    brain = to_image(template.brain.astype(np.uint8), template.labels.grid)
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(brain)) == 1
    return sitk.BinaryDilate(largest, [round(MARGIN_MM / mm) for mm in template.labels.grid.spacing])


def _middle(grid: Grid, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return grid.to_world(np.argwhere(mask).mean(axis=0))


def _matrix(moved: Callable[[list[float]], tuple[float, ...]]) -> NDArray[np.float64]:
    origin = np.array(moved([0.0, 0.0, 0.0]))
    columns = [np.array(moved(axis)) - origin for axis in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack(columns, axis=1), origin
    return matrix
