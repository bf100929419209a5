"""How a made head differs from the label map it comes from: pose, smooth deformation, size of the ventricles.

Everything here is in the label map's own voxels, which are 1 mm: a position is `(i, j, k)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.training.label_maps import SEGMENTER_CLASSES, VENTRICLES, LabelTable

REACH_MM = 32.0
"""Beyond this distance from the ventricles, their growing or shrinking moves nothing."""

WALKS = 2
"""Steps of Newton's method along the distance; ridges, where its gradient is short, need more than one."""

FARTHEST_WALL_MM = 16.0
"""How far the wall of a ventricle moves at most."""


MAURER_WALL = 0.5
"""Maurer's distance is 0 in the outermost voxels inside; their outer face lies half a millimetre further out."""


@dataclass(frozen=True, eq=False)
class Shape:
    """The numbers that make one shape out of a head; all of them drawn before anything is computed.

    `velocities` are control points `[3, a, b, c]` in mm, coarse first; `ventricles_ml` is what the lateral ventricles
    should hold before the head as a whole is scaled; `borrowed` is the share of the other head in their form.
    """

    rotation: NDArray[np.float64]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    velocities: tuple[NDArray[np.float32], ...]
    ventricles_ml: float
    borrowed: float

    @classmethod
    def draw(cls, rng: np.random.Generator, sex: float, amount: float = 1.0) -> Shape:
        """Draw a shape; `amount` scales the deformation (0 leaves the pose and form of the label map)."""
        return cls(
            rotation=rng.normal(0, 0.06, 3) * amount,
            scale=1 + rng.normal(0, 0.03, 3) * amount + (0.02 if sex else -0.02),
            shift=rng.normal(0, 1.5, 3) * amount,
            velocities=tuple(
                (rng.normal(0, sd, (3, *points)) * amount).astype(np.float32)
                for sd, points in ((4.0, (5, 7, 5)), (1.6, (10, 14, 10)))
            ),
            ventricles_ml=float(rng.uniform(5**0.5, 85**0.5) ** 2),
            borrowed=float(rng.uniform(0, 0.6)),
        )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """From the made head's offsets to the label map's: the inverse of scaling, then rotating."""
        (cx, cy, cz), (sx, sy, sz) = np.cos(self.rotation), np.sin(self.rotation)
        about_i = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_j = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_k = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        return (about_i @ about_j @ about_k) / self.scale


@dataclass(frozen=True, eq=False)
class Head:
    """A label map made ready: label positions `[i, j, k]`, and the ventricles' signed distance at half resolution.

    `field` is `[4, i/2, j/2, k/2]`: the distance in mm (negative inside), then its gradient along i, j, k.
    """

    positions: Tensor
    field: Tensor

    @classmethod
    def prepare(cls, positions: NDArray[np.uint8], table: LabelTable, device: torch.device) -> Head:
        import SimpleITK

        inside = np.isin(table.labels[positions], SEGMENTER_CLASSES[VENTRICLES][1]).astype(np.uint8)
        distance = SimpleITK.SignedMaurerDistanceMap(SimpleITK.GetImageFromArray(inside), False, False, False)
        smooth = SimpleITK.SmoothingRecursiveGaussian(distance, 1.0)
        fine = torch.from_numpy(SimpleITK.GetArrayFromImage(smooth)).float().to(device) - MAURER_WALL
        coarse = functional.avg_pool3d(fine[None, None], 2)[0, 0]
        gradient = torch.gradient(coarse, spacing=2.0)
        return cls(torch.from_numpy(positions).to(device), torch.stack([coarse, *gradient]))


def source_positions(shape: Shape, head: Head, lender: Head) -> Tensor:
    """Where each voxel of the made head comes from: positions in the label map, `[3, i/2, j/2, k/2]`."""
    size = head.field.shape[1:]
    device = head.field.device
    axes = [torch.arange(n, device=device, dtype=torch.float32) * 2 + 0.5 for n in size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    centre = on_device(np.array([n - 0.5 for n in size], np.float32), device).view(3, 1, 1, 1)
    matrix = on_device(shape.matrix.astype(np.float32), device)
    shift = on_device(shape.shift.astype(np.float32), device).view(3, 1, 1, 1)
    posed = torch.einsum("ab,bxyz->axyz", matrix, grid - centre - shift) + centre
    return resize_ventricles(posed + displacement(shape.velocities, size, device), shape, head, lender)


def displacement(velocities: tuple[NDArray[np.float32], ...], size: torch.Size, device: torch.device) -> Tensor:
    """A diffeomorphic displacement `[3, …]` in mm on a grid of 2 mm: the velocities' flow for unit time.

    Scaling and squaring (Arsigny et al. 2006) on every other voxel: the field is smooth.
    """
    half = tuple(n // 2 for n in size)
    velocity = sum(
        functional.interpolate(on_device(v, device)[None], half, mode="trilinear", align_corners=True)[0]
        for v in velocities
    )
    squarings = 5
    flow = torch.as_tensor(velocity) / 2**squarings
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in half]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    for _ in range(squarings):
        flow = flow + sample(flow, grid + flow / 4)
    return functional.interpolate(flow[None], size, mode="trilinear", align_corners=True)[0]


def resize_ventricles(positions: Tensor, shape: Shape, head: Head, lender: Head) -> Tensor:
    """Move positions along the ventricles' distance so that the ventricles get the volume that was drawn.

    Where the new wall lies at distance d from the old one, a voxel at distance u < d comes from u − d, and the tissue
    between d and `REACH_MM` is stretched or pressed together evenly, so nothing folds. d is the same everywhere but
    for the form borrowed from another head.
    """
    index = (positions - 0.5) / 2
    near = sample(head.field, index)
    distance, direction = near[0], near[1:]
    lean = shape.borrowed * (distance - sample(lender.field[:1], index)[0]).clamp(-20, 20)
    voxels = round(shape.ventricles_ml * 1000 / 8)
    offset = smallest((distance - lean).flatten(), voxels)
    wall = (offset + lean).clamp(-FARTHEST_WALL_MM, FARTHEST_WALL_MM)
    pressed = REACH_MM * (distance - wall) / (REACH_MM - wall)
    before = torch.where(distance < wall, distance - wall, torch.where(distance < REACH_MM, pressed, distance))
    for _ in range(WALKS):
        positions = positions + (before - distance) * direction / direction.square().sum(0).clamp(min=0.2)
        near = sample(head.field, (positions - 0.5) / 2)
        distance, direction = near[0], near[1:]
    return positions


def sample(field: Tensor, index: Tensor) -> Tensor:
    """A field `[C, i, j, k]` at fractional indices `[3, …]`, trilinear; outside, the nearest value inside."""
    last = on_device(np.array([n - 1 for n in field.shape[1:]], np.float32), field.device)
    at = (index / last.view(3, 1, 1, 1) * 2 - 1).flip(0).permute(1, 2, 3, 0)
    return functional.grid_sample(field[None], at[None], padding_mode="border", align_corners=True)[0]


def smallest(values: Tensor, place: int) -> Tensor:
    """The `place`-th smallest of a flat tensor, from 1. CUDA searches a long line with one block, so it sorts there."""
    if values.is_cuda:
        return values.sort().values[place - 1]
    return torch.kthvalue(values, place).values


def on_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array as a tensor on the device; a GPU fetches it without anyone waiting."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
