"""From a start to the pose next to it, by Mattes' mutual information at several resolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.registration.pose import Pose
from vcm.registration.reference import Reference
from vcm.volumes.resampling import resample_image
from vcm.volumes.volume_files import LPS, to_image


@dataclass(frozen=True)
class Levels:
    """Spacing (mm) at which the scan is looked at; that of the reference, and smoothing (mm), at each resolution."""

    spacing_mm: float
    steps: tuple[tuple[float, float], ...]


COARSE, MIDDLE = Levels(4.0, ((8.0, 4.0),)), Levels(4.0, ((4.0, 2.0),))
FINE = Levels(2.0, ((4.0, 2.0), (2.0, 0.0)))
BINS, STEPS = 32, 100
FIRST_STEP_MM, LAST_STEP_MM, RELAXATION = 1.0, 0.01, 0.6

Cancelled = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Found:
    """A pose after its optimisation, and the metric there; lower is better."""

    pose: Pose
    metric: float


class Optimiser:
    """Looks for the pose that carries one scan onto a reference; deterministic. Raises CANCELLED where it is asked to
    stop."""

    def __init__(self, image: Volume, reference: Reference, cancelled: Cancelled = lambda: False) -> None:
        grid = reference.image.grid
        self._fixed = to_image(reference.image.array.astype(np.float32), grid)
        self._mask = to_image(reference.around.astype(np.uint8), grid)
        self._image = image
        self._upright: dict[float, sitk.Image] = {}
        self._cancelled = cancelled

    def improved(self, start: Pose, levels: Levels, *, affine: bool = False) -> Found:
        """The pose next to `start`; rigid relative to it, or affine."""
        if levels.spacing_mm not in self._upright:
            self._upright[levels.spacing_mm] = upright(self._image, levels.spacing_mm)
        moving = self._upright[levels.spacing_mm]
        method = sitk.ImageRegistrationMethod()
        # On several threads sums are added in another order each time, and a pose would not be the same twice.
        method.SetNumberOfThreads(1)
        method.SetMetricAsMattesMutualInformation(BINS)
        method.SetMetricFixedMask(self._mask)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(FIRST_STEP_MM, LAST_STEP_MM, STEPS, RELAXATION)
        method.SetOptimizerScalesFromPhysicalShift()
        finest = min(self._fixed.GetSpacing())
        method.SetShrinkFactorsPerLevel([max(1, round(mm / finest)) for mm, _ in levels.steps])
        method.SetSmoothingSigmasPerLevel([sigma for _, sigma in levels.steps])
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
        method.SetMovingInitialTransform(itk_affine(start.inverse))
        change = sitk.AffineTransform(3) if affine else sitk.Euler3DTransform()
        middle = [(n - 1) / 2 for n in self._fixed.GetSize()]
        change.SetCenter(self._fixed.TransformContinuousIndexToPhysicalPoint(middle))
        method.SetInitialTransform(change, True)
        # What a command raises is lost in ITK, so it stops the optimiser and the exception follows here.
        method.AddCommand(sitk.sitkIterationEvent, lambda: method.StopRegistration() if self._cancelled() else None)
        method.Execute(self._fixed, moving)
        stop_if(self._cancelled)
        onward = LPS @ _matrix_of(change) @ LPS
        return Found(Pose(start.inverse.matrix @ onward).inverse, float(method.GetMetricValue()))


def stop_if(cancelled: Cancelled) -> None:
    """Leave where it is no longer wanted."""
    if cancelled():
        raise VcmError(Code.CANCELLED, "It was cancelled.")


def upright(image: Volume, spacing_mm: float) -> sitk.Image:
    """A scan along the axes of the patient, for SimpleITK."""
    grid = box_around(image.grid, spacing_mm)
    return to_image(resample_image(image, grid).array.astype(np.float32), grid)


def box_around(own: Grid, spacing_mm: float) -> Grid:
    """A Grid along the axes of the patient that holds all of another."""
    corners = own.to_world(np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in own.shape])).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = low + spacing_mm / 2
    return Grid(np.ceil((high - low) / spacing_mm).clip(1), affine)


def itk_affine(pose: Pose) -> sitk.AffineTransform:
    """A pose as the ITK transform that moves points in the same way, in LPS."""
    matrix = LPS @ pose.matrix @ LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform


def _matrix_of(transform: sitk.Transform) -> NDArray[np.float64]:
    """The matrix of a linear transform, by what it does to points."""
    origin = np.array(transform.TransformPoint([0.0, 0.0, 0.0]))
    columns = [np.array(transform.TransformPoint(axis)) - origin for axis in np.eye(3).tolist()]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.stack(columns, axis=1), origin
    return matrix
