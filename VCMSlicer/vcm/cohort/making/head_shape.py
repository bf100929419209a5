"""How a made head differs from the label map it comes from: pose, size, smooth deformation, ventricles, cortex.

Positions are in the label map's own voxels, which are 1 mm: `(i, j, k)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.cohort.making.head_maps import DEPTH_STEPS, WALL_STEPS, Head
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid

REACH_MM = 32.0
"""Beyond this distance from the ventricles, their growing or shrinking moves nothing."""

FARTHEST_WALL_MM = 16.0
"""How far the wall of a ventricle moves at most."""

FARTHEST_SURFACE_MM = 1.3
"""How far the brain's surface moves at most."""

SCALE_LIMITS = (0.85, 1.18)
"""How much a head is scaled at most to reach its size."""

INSIDE_ML = {0.0: 1420.0, 1.0: 1562.0}
"""The mean volume inside the skull of women (0) and men: a tenth apart."""


@dataclass(frozen=True, eq=False)
class Shape:
    """The numbers that make one shape out of a head; all of them drawn before anything is computed.

    `velocities` are control points `[3, a, b, c]` in mm, coarse first; `ventricles_ml` is what the lateral ventricles
    should hold; `borrowed` is the share of the other head in their form. `inside_ml` is the volume inside the skull and
    `tissue` the brain's share of it, ventricles left out; None leaves the label map's.
    """

    rotation: NDArray[np.float64]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    velocities: tuple[NDArray[np.float32], ...]
    ventricles_ml: float
    borrowed: float
    inside_ml: float | None = None
    tissue: float | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator, sex: float, age: float) -> Shape:
        """Draw the shape of someone of a sex and an age (raw, 0-1), whatever the head it will be given to.

        The brain's share of the skull falls by a tenth over the ages; the ventricles' volume has a correlation of
        about 0.5 with age.
        """
        from scipy.special import ndtr

        stretch = np.exp(rng.normal(0, 0.025, 3))
        wide = ndtr(0.5 * (age - 0.5) * 12**0.5 + 0.75**0.5 * rng.normal())
        low, high = 5**0.5, 85**0.5
        inside, tissue = INSIDE_ML[sex] * np.exp(rng.normal(0, 0.07)), 0.77 - 0.09 * age + rng.normal(0, 0.015)
        return cls(
            rotation=rng.normal(0, 0.06, 3),
            scale=stretch / stretch.prod() ** (1 / 3),
            shift=rng.normal(0, 1.5, 3),
            velocities=tuple(
                rng.normal(0, sd, (3, *points)).astype(np.float32)
                for sd, points in ((4.0, (5, 7, 5)), (1.6, (10, 14, 10)))
            ),
            ventricles_ml=float((low + (high - low) * wide) ** 2),
            borrowed=float(rng.uniform(0, 0.6)),
            inside_ml=float(inside),
            tissue=float(tissue),
        )

    def scale_of(self, head: Head) -> NDArray[np.float64]:
        """The head's enlargement along each axis."""
        if self.inside_ml is None or not head.inside_ml:
            return self.scale
        return self.scale * np.clip((self.inside_ml / head.inside_ml) ** (1 / 3), *SCALE_LIMITS)

    def matrix(self, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the made head's offsets to the label map's: the inverse of scaling, then rotating."""
        (cx, cy, cz), (sx, sy, sz) = np.cos(self.rotation), np.sin(self.rotation)
        about_i = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        about_j = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_k = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        return (about_i @ about_j @ about_k) / scale

    def surface_of(self, head: Head) -> int:
        """How far the brain's surface moves outwards, in steps of the head's `depth`."""
        if self.tissue is None or self.inside_ml is None:
            return 0
        asked = head.inside_ml * (self.tissue + self.ventricles_ml / self.inside_ml)
        most = round(FARTHEST_SURFACE_MM * DEPTH_STEPS)
        return int(np.clip(head.surface_for(asked), -most, most))


@dataclass(frozen=True)
class View:
    """The field of view of the made heads: its size in voxels of 2 mm, and the label map's voxel where it begins."""

    shape: tuple[int, int, int]
    start: tuple[int, int, int]

    @classmethod
    def on(cls, grid: Grid, maps: Grid) -> View:
        """The view of `grid` in label maps on the Grid `maps`, whose voxels must be half as wide and lie along it."""
        start = maps.to_voxel(grid.to_world((0, 0, 0))) - 0.5
        fits = np.allclose(grid.affine[:3, :3], 2 * maps.affine[:3, :3]) and np.allclose(start, np.rint(start))
        if not fits:
            raise VcmError(
                Code.GEOMETRY,
                f"Heads cannot be made on a grid of {grid.shape} voxels of {grid.spacing[0]:g} mm: it does not lie "
                "along the label maps' voxels at twice their size.",
                "Choose --grid labelmaps, or resample the label maps.",
            )
        return cls(grid.shape, (int(np.rint(start[0])), int(np.rint(start[1])), int(np.rint(start[2]))))

    @property
    def slices(self) -> tuple[slice, ...]:
        """The part of the label maps that it covers."""
        return tuple(slice(max(0, a), max(0, a + 2 * n)) for a, n in zip(self.start, self.shape, strict=True))


@dataclass(frozen=True, eq=False)
class Source:
    """Where each voxel of a made head comes from.

    `positions` `[3, i, j, k]` are in the label map. The made head's ventricles are what `before` finds at a distance
    below `wall` (mm) from the label map's: the same positions before the tissue made room for them. `surface` is how
    far the brain's surface moves, in steps of the head's `depth`.
    """

    positions: Tensor
    before: Tensor
    wall: Tensor
    surface: int


def source_of(shape: Shape, head: Head, lender: Head, view: View) -> Source:
    """Where the voxels of a made head come from."""
    device = head.field.device
    axes = [
        torch.arange(n, device=device, dtype=torch.float32) * 2 + 0.5 + a
        for n, a in zip(view.shape, view.start, strict=True)
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    middle = [a + n - 0.5 for n, a in zip(view.shape, view.start, strict=True)]
    centre = on_device(np.array(middle, np.float32), device).view(3, 1, 1, 1)
    matrix = on_device(shape.matrix(shape.scale_of(head)).astype(np.float32), device)
    shift = on_device(shape.shift.astype(np.float32), device).view(3, 1, 1, 1)
    posed = torch.einsum("ab,bxyz->axyz", matrix, grid - centre - shift) + centre
    posed = posed + displacement(shape.velocities, torch.Size(view.shape), device)
    moved, wall = resize_ventricles(posed, shape, head, lender)
    return Source(moved, posed, wall, shape.surface_of(head))


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


def resize_ventricles(positions: Tensor, shape: Shape, head: Head, lender: Head) -> tuple[Tensor, Tensor]:
    """Positions after the tissue has made room for ventricles of the volume that was drawn, and where their wall is.

    The wall moves by the same distance everywhere, but for the form borrowed from another head and for the tissue's
    `give`. The ventricles are what lies within the new wall; no label is looked up there, so that however deep or thin
    the label map's ventricles are, the made ones are whole. The tissue outside follows the wall, the less the farther
    away, and the movement is smooth, so that between two walls that press on it it stays.
    """
    index = (positions - 0.5) / 2
    near = sample(head.field, index)
    give = sample(head.give[None], index)[0]
    distance, direction = near[0], near[1:]
    lean = shape.borrowed * (distance - sample(lender.field[:1], index)[0]).clamp(-20, 20)
    offset = smallest(((_sampled_walls(head, positions) - lean) / give).flatten(), _places(shape, distance.numel()))
    offset = offset + 0.5 / WALL_STEPS  # what lies just there is inside
    wall = (offset * give + lean).clamp(-FARTHEST_WALL_MM, FARTHEST_WALL_MM)
    share = ((REACH_MM - distance) / (REACH_MM - wall)).clamp(0, 1)
    move = -wall * share * direction / direction.square().sum(0).sqrt().clamp(min=0.5)
    coarse = functional.avg_pool3d(move[None], 2)
    smooth = functional.avg_pool3d(functional.pad(coarse, [1] * 6, mode="replicate"), 3, stride=1)
    return positions + functional.interpolate(smooth, move.shape[1:], mode="trilinear")[0], wall


PARTS = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0))
"""Of the eight parts of a voxel, those that are looked at to learn how much of it lies within a wall."""


def _sampled_walls(head: Head, positions: Tensor) -> Tensor:
    """The distance from the ventricles' walls in `PARTS` of each voxel, `[4, i, j, k]`."""
    corner = positions - 0.5
    parts = [corner + torch.tensor(part, device=corner.device).view(3, 1, 1, 1) for part in PARTS]
    return torch.stack([head.from_wall(part) for part in parts])


def _places(shape: Shape, voxels: int) -> int:
    """How many parts the ventricles should fill."""
    return min(max(1, round(shape.ventricles_ml * len(PARTS) * 1000 / 8)), len(PARTS) * voxels)


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
