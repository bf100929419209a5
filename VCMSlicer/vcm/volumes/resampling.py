"""Images and label maps onto another Grid, from any orientation, spacing and obliqueness.

Both work between voxel indices alone, so that flips, oblique and sheared grids are one case. Where the two grids only
differ by whole voxels, flips and a change of axis order, voxels are copied and nothing is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.field_of_view import NUDGE, filled_box
from vcm.volumes.label_values import replaced, values_and_counts

# How far, in voxels, two grids may be apart and still count as lying on each other's voxels.
ALIGNED = 1e-3
# How many layers of the new grid are counted at a time, so that the counts of all labels stay small.
SLAB = 16
# Sample points for each old voxel that a new one spans, on either side of its centre; and at most.
POINTS, MOST_POINTS = 6, 120
# Multiples of these, taken modulo 1, fill a cube evenly: the powers of the root of x⁴ = x + 1.
EVEN_SPREAD = 1.2207440846057596 ** -np.arange(1, 4)
# The Gaussian whose width at half height is one voxel.
HALF_HEIGHT = 1 / (2 * math.sqrt(2 * math.log(2)))
# A new voxel that spans at least this many old ones has them averaged before it is smoothed.
FEW_VOXELS = 4
# How far, in voxels, axes may drift apart over a whole array and still count as running along each other.
STRAIGHT = 1e-7

LookUp = Callable[[NDArray[np.float64], tuple[int, ...]], NDArray[Any]]
"""Values for each voxel of a shape, at places that an affine gives."""


def resample_image(volume: Volume, grid: Grid) -> Volume:
    """Intensities on another Grid: trilinear, smoothed first where the new voxels are larger, 0 outside.

    The result is a float array; a float64 or int32 input gives float64, smaller ones float32.
    """
    array = volume.array.astype(np.result_type(volume.array.dtype, np.float32))
    step = _index_step(grid, volume.grid)
    copied = _copied(array, step, grid.shape)
    if copied is not None:
        return Volume(copied, grid)
    array, step = _averaged(array, step)
    image = sitk.GetImageFromArray(array.T)
    variance = np.clip(_footprint(step) ** 2 - 1, 0, None) * HALF_HEIGHT**2 * (np.asarray(array.shape) > 1)
    if variance.max() > 0.01:
        width = 2 * math.ceil(4 * math.sqrt(variance.max())) + 1
        image = sitk.DiscreteGaussian(image, np.maximum(variance, 1e-6).tolist(), width, 0.005, False)
    return Volume(_looked_up(image, step, grid.shape, sitk.sitkLinear), grid)


def resample_labels(volume: Volume, grid: Grid) -> Volume:
    """Labels on another Grid: each new voxel takes the label that fills most of it; the number type is kept.

    The share of every label in a voxel is counted at points spread evenly through it. Against a tie the structures win
    over the background and lower values over higher ones, so a mask is what fills half a voxel or more.
    """
    step = _index_step(grid, volume.grid)
    copied = _copied(volume.array, step, grid.shape)
    if copied is not None:
        return Volume(copied, grid)
    result = np.zeros(grid.shape, volume.array.dtype)
    box = _target_box(volume.array, step, grid.shape)
    if box is not None:
        result[box] = _majority(volume.array, step, box)
    return Volume(result, grid)


def refined_labels(volume: Volume, grid: Grid) -> Volume:
    """Labels on a finer Grid with smooth borders: each voxel takes the label that trilinear interpolation of the
    labels' own masks finds strongest. Outside it is 0."""
    step = _index_step(grid, volume.grid)
    copied = _copied(volume.array, step, grid.shape)
    if copied is not None:
        return Volume(copied, grid)
    values, _ = values_and_counts(volume.array)
    most, result = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, volume.array.dtype)
    # A background that is interpolated too would be 0 outside, as everything else is.
    for value in sorted(values, key=lambda each: (each == 0, each)):
        share = _looked_up(
            sitk.GetImageFromArray((volume.array == value).astype(np.float32).T), step, grid.shape, sitk.sitkLinear
        )
        better = share > most
        result[better], most[better] = value, share[better]
    return Volume(result, grid)


def _index_step(start: Grid, end: Grid) -> NDArray[np.float64]:
    """The affine from voxel indices of one Grid to those of another."""
    return np.linalg.inv(end.affine) @ start.affine


def _copied(array: NDArray[Any], step: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[Any] | None:
    """The voxels themselves, where the new grid is the old one flipped, turned, cropped or padded; else None."""
    turn = np.rint(step[:3, :3])
    if not ((np.abs(turn).sum(0) == 1).all() and (np.abs(turn).sum(1) == 1).all()):
        return None
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    exact = step[:3, :3] @ ends + step[:3, 3:]
    first = np.rint(step[:3, 3])
    if np.abs(exact - (turn @ ends + first[:, None])).max() > ALIGNED:
        return None
    axes = np.abs(turn).argmax(axis=0)
    result = np.zeros(shape, array.dtype)
    source, target = [slice(0)] * 3, [slice(0)] * 3
    for axis, old in enumerate(axes):
        index = int(turn[old, axis]) * np.arange(shape[axis]) + int(first[old])
        valid = np.flatnonzero((index >= 0) & (index < array.shape[old]))
        if not valid.size:
            return result
        target[axis] = slice(int(valid[0]), int(valid[-1]) + 1)
        low, high = sorted((int(index[valid[0]]), int(index[valid[-1]])))
        backwards = turn[old, axis] < 0
        source[axis] = slice(high, low - 1 if low else None, -1) if backwards else slice(low, high + 1)
    result[tuple(target)] = array.transpose(axes)[tuple(source)]
    return result


def _footprint(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many old voxels a new one spans along each axis of the old grid."""
    return np.asarray(np.linalg.norm(step[:3, :3], axis=1))


def _averaged(array: NDArray[Any], step: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Blocks of voxels as their mean, where a new voxel spans many: a wide Gaussian alone is slow and overflows."""
    factors = np.clip(_footprint(step) // FEW_VOXELS, 1, array.shape).astype(int)
    if (factors == 1).all():
        return array, step
    array = np.pad(array, [(0, -n % factor) for n, factor in zip(array.shape, factors, strict=True)], mode="edge")
    blocks = [size for n, factor in zip(array.shape, factors, strict=True) for size in (n // factor, factor)]
    into_blocks = np.diag([*1 / factors, 1.0])
    into_blocks[:3, 3] = (1 / factors - 1) / 2
    return array.reshape(blocks).mean(axis=(1, 3, 5)), into_blocks @ step


def _looked_up(image: Any, step: NDArray[np.float64], shape: tuple[int, ...], interpolator: int) -> NDArray[Any]:
    """Values at `step @ (i, j, k, 1)` for each voxel of `shape`, 0 outside the image."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(step[:3, :3].ravel().tolist())
    transform.SetTranslation(step[:3, 3].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in shape])
    resampler.SetTransform(transform)
    resampler.SetInterpolator(interpolator)
    # The view borrows the image's memory, so the image must live until it is copied.
    found = resampler.Execute(image)
    return np.ascontiguousarray(sitk.GetArrayViewFromImage(found).T)


def _target_box(
    array: NDArray[Any], step: NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[slice, slice, slice] | None:
    """The part of the new grid that the labels can reach; None where they reach nothing."""
    filled = filled_box(array)
    if filled is None:
        return None
    corners = np.array(np.meshgrid(*[(part.start - 0.5, part.stop - 0.5) for part in filled])).reshape(3, -1)
    reached = np.linalg.inv(step)[:3] @ np.vstack([corners, np.ones(8)])
    low = np.clip(np.floor(reached.min(axis=1)), 0, shape).astype(int)
    high = np.clip(np.ceil(reached.max(axis=1)) + 1, 0, shape).astype(int)
    if (high <= low).any():
        return None
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _majority(array: NDArray[Any], step: NDArray[np.float64], box: tuple[slice, slice, slice]) -> NDArray[Any]:
    values, codes = _coded(array)
    look_up = _nearest(codes, step)
    offsets = _points_in_a_voxel(step)
    slabs = []
    for start in range(box[0].start, box[0].stop, SLAB):
        part = (slice(start, min(start + SLAB, box[0].stop)), *box[1:])
        slabs.append(values[_fullest(look_up, len(values), step, part, offsets)])
    return np.concatenate(slabs)


def _nearest(codes: NDArray[Any], step: NDArray[np.float64]) -> LookUp:
    """A function that gives the codes nearest to `step @ (i, j, k, 1)` for each voxel of a shape, 0 outside.

    Where the axes of both grids run along each other, three lists of indices say it all, and many times faster.
    """
    axes = np.abs(step[:3, :3]).argmax(axis=0)
    aslant = np.abs(step[:3, :3]).sum() - np.abs(step[axes, range(3)]).sum()
    if sorted(axes) != [0, 1, 2] or aslant * max(codes.shape) > STRAIGHT * np.abs(step[:3, :3]).max():
        image = sitk.GetImageFromArray(codes.T)
        return lambda moved, shape: _looked_up(image, moved, shape, sitk.sitkNearestNeighbor)
    turned = codes.transpose(axes)

    def look_up(moved: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[Any]:
        found = np.zeros(shape, codes.dtype)
        inside, indices = [], []
        for axis, old in enumerate(axes):
            index = np.floor(moved[old, axis] * np.arange(shape[axis]) + moved[old, 3] + 0.5).astype(int)
            there = np.flatnonzero((index >= 0) & (index < codes.shape[old]))
            inside.append(there)
            indices.append(index[there])
        found[np.ix_(*inside)] = turned[np.ix_(*indices)]
        return found

    return look_up


def _coded(array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.unsignedinteger]]:
    """All labels with the background first, and the array with each label replaced by its place among them."""
    present, _ = values_and_counts(array)
    values = np.concatenate([np.zeros(1, array.dtype), present[present != 0]])
    order = np.argsort(values)
    return values, replaced(array, values[order], order.astype(np.min_scalar_type(len(values))))


def _fullest(
    look_up: LookUp, labels: int, step: NDArray[np.float64], box: tuple[slice, ...], offsets: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The code that most of the points in each voxel meet; structures win a tie over the background, which is 0."""
    corner = step @ [*[part.start for part in box], 1.0]
    shape = tuple(part.stop - part.start for part in box)
    counts = np.zeros((labels, *shape), np.uint8)
    for offset in offsets:
        moved = step.copy()
        moved[:3, 3] = corner[:3] + step[:3, :3] @ offset + NUDGE
        here = look_up(moved, shape)
        for code in range(labels):
            counts[code] += here == code
    best, most = np.ones(shape, np.intp), counts[1].copy()
    for code in [*range(2, labels), 0]:
        best[counts[code] > most] = code
        np.maximum(most, counts[code], out=most)
    return best


def _points_in_a_voxel(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sample points spread evenly through a new voxel, `[points, 3]`, in fractions from its centre.

    Where a new voxel is made of whole old ones, each of them has its one point. Elsewhere an odd number of points lies
    symmetrically about the centre, so that nothing is shifted and a mask and its background never tie.
    """
    lengths = np.linalg.norm(step[:3, :3], axis=0)
    if _made_of_whole_voxels(step, lengths) and lengths.prod() <= 2 * MOST_POINTS:
        counts = np.rint(lengths)
        axes = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    half = min(POINTS * int(np.prod(np.ceil(lengths - ALIGNED).clip(1))), MOST_POINTS)
    return (np.arange(-half, half + 1)[:, None] * EVEN_SPREAD + 0.5) % 1 - 0.5


def _made_of_whole_voxels(step: NDArray[np.float64], lengths: NDArray[np.float64]) -> bool:
    straight = np.abs(step[:3, :3]).max(axis=0) > lengths * (1 - ALIGNED**2)
    whole = np.abs(lengths - np.rint(lengths).clip(1)) < ALIGNED**2
    faces = step @ (-0.5, -0.5, -0.5, 1.0) + 0.5
    return bool(straight.all() and whole.all() and np.abs(faces - np.rint(faces))[:3].max() < ALIGNED)
