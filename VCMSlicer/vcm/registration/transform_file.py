"""Poses in files that ITK and 3D Slicer read.

An ITK transform leads from where voxels are wanted to where they are taken from. So the file of a pose that carries a
scan into the model's space holds, in LPS, the way from the model's millimetres to the scan's. `SimpleITK.Resample(scan,
model_image, transform)` then draws the scan on the model's grid; and Slicer, which turns such a file round when it
reads it, moves the scan into the model's space when the transform is applied to it.
"""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from vcm.core.disk import require_utf8
from vcm.outputs.atomic_files import atomic_path
from vcm.registration.optimising import itk_affine
from vcm.registration.pose import Pose


def write_transform(path: str | Path, pose: Pose) -> None:
    """Write the pose of a scan as `.tfm` (text) or `.h5`, whole or not at all."""
    require_utf8(Path(path))
    with atomic_path(path) as temporary:
        sitk.WriteTransform(itk_affine(pose.inverse), str(temporary))
