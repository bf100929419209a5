"""What is drawn, completed to a whole head by a layout: what was drawn stays where it is, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vcm.anatomy.structures import EXTRAVENTRICULAR_CSF
from vcm.conditions.condition import Condition, Kind
from vcm.conditions.possible_labels import Bits, GivenStructure, given_structures, planes, possible_labels
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.layout.layout import Layout
from vcm.packs.manifest import LayoutManifest
from vcm.sampling.samplers import SAMPLERS, SamplerStep
from vcm.volumes.resampling import resample_labels

STREAM = 0x1A70
"""Tells a layout's noise from that of the image, which follows from the same seed."""
MARGIN = 16
"""Voxels around those that are mended, in which the nearest tissue is looked for."""
FLUID = 0.25
"""Background with so much fluid on its surface belongs to what lies around the brain."""
SLAB = 16
"""Planes of a finer grid that are filled at a time, so that the scores of all labels stay small."""


@torch.no_grad()
def complete(
    layout: Layout,
    manifest: LayoutManifest,
    conditions: Sequence[Condition],
    grid: Grid,
    *,
    seed: int,
    attributes: Mapping[str, float] | None = None,
    absent: Sequence[int] = (),
    on_step: Callable[[SamplerStep], None] | None = None,
) -> Volume:
    """The label map of a whole head on `grid`, around conditions that lie on it; the same for the same seed.

    A voxel within a drawn structure has one of its labels, one outside it none of them. `attributes` are raw, by name;
    what is left out is left to chance. Labels that are `absent` do not occur unless they were drawn.
    """
    known, device = [c.value for c in manifest.classes], next(layout.parameters()).device
    possible = _possible([_moved(condition, manifest.grid) for condition in conditions], manifest.grid, known, absent)
    codes, meanings = _coded(possible, len(known) + 1)
    values = [(attributes or {}).get(spec.name, np.nan) for spec in manifest.attributes]
    noise = torch.randn(manifest.latent_shape, generator=_generator(seed)).to(device)
    seen = layout.denoiser.see(codes.to(device), meanings.to(device))
    latent = sample_layout(layout, manifest, noise[None], seen, torch.tensor([values]).to(device), on_step)
    scores = layout.autoencoder.decode(latent)[0]
    if grid.same_as(manifest.grid):
        labels, torn = _likeliest(scores, possible)
    else:
        possible = _possible(conditions, grid, known, absent)
        labels, torn = _refined(scores.softmax(0), manifest.grid, grid, possible)
    return Volume(_mended(labels, torn | _hollows(labels), possible, grid.spacing), grid)


def sample_layout(
    layout: Layout,
    manifest: LayoutManifest,
    noise: Tensor,
    seen: Tensor,
    attributes: Tensor,
    on_step: Callable[[SamplerStep], None] | None = None,
) -> Tensor:
    """Finished latents from noise `[B, *latent_shape]`, with what `LayoutDenoiser.see` made of what is given, and
    attributes `[B, n]`, NaN where unknown."""
    sampler, steps = manifest.sampling.sampler, manifest.sampling.steps or 12

    def denoise(latent: Tensor, t: float) -> object:
        return layout.predict(latent, t, seen, attributes)

    return SAMPLERS[sampler](denoise, noise, layout.process, steps, on_step)  # type: ignore[arg-type]


def _possible(conditions: Sequence[Condition], grid: Grid, known: Sequence[int], absent: Sequence[int]) -> Bits:
    given = given_structures(conditions, known)
    drawn = {label for structure in given if len(structure.labels) == 1 for label in structure.labels}
    if left_out := frozenset(absent) - drawn:
        given.append(GivenStructure(left_out, np.zeros(grid.shape, bool)))
    return possible_labels(given, grid.shape, known)


def _moved(condition: Condition, grid: Grid) -> Condition:
    if condition.spec.kind is Kind.IMAGE or condition.volume.grid.same_as(grid):
        return condition
    return replace(condition, volume=resample_labels(condition.volume, grid), region=None)


def _coded(possible: Bits, labels: int) -> tuple[Tensor, Tensor]:
    """For each voxel which of the sets of labels that occur it may have, `[1, i, j, k]`; and these, `[1, sets, labels]`
    of 0 and 1."""
    sets, codes = np.unique(possible, return_inverse=True)
    meanings = planes(sets, labels).T.astype(np.float32)
    return torch.from_numpy(codes.reshape(1, *possible.shape)), torch.from_numpy(meanings)[None]


def _likeliest(scores: Tensor, bits: Bits) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The label of the highest score among those that each voxel may have, and where an impossible one has a higher."""
    labels = scores.argmax(0).to("cpu", torch.uint8).numpy()
    torn = (bits >> labels.astype(bits.dtype)) & 1 == 0
    possible = torch.from_numpy(planes(bits[torn], len(scores))).to(scores.device)
    own = scores[:, torch.from_numpy(torn).to(scores.device)].masked_fill(~possible, -torch.inf)
    labels[torn] = own.argmax(0).to("cpu", torch.uint8).numpy()
    return labels, torn


def _mended(
    labels: NDArray[np.uint8], torn: NDArray[np.bool_], possible: Bits, spacing: Sequence[float]
) -> NDArray[np.uint8]:
    """Labels in which voxels of an impossible one have the nearest that they may have: the tissue around a structure
    that was formed larger than it was drawn. Second scores say little, such as background within a brain."""
    from scipy import ndimage

    if not torn.any():
        return labels
    (box,) = ndimage.find_objects(torn.astype(np.uint8))
    around = tuple(slice(max(at.start - MARGIN, 0), at.stop + MARGIN) for at in box)
    found, torn, possible = labels[around], torn[around], possible[around]
    nearest, least = found[torn], np.full(np.count_nonzero(torn), np.inf, np.float32)
    for label in np.unique(found[~torn]):
        distance = ndimage.distance_transform_edt(torn | (found != label), spacing)[torn].astype(np.float32)
        closer = (distance < least) & ((possible[torn] >> np.uint32(label)) & 1).astype(bool)
        nearest[closer], least[closer] = label, distance[closer]
    mended = labels.copy()
    mended[around][torn] = nearest
    return mended


def _hollows(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Background that is enclosed by tissue. What lies in the fluid around the brain, such as a vessel, is none."""
    from scipy import ndimage

    empty = labels == 0
    pieces, _ = ndimage.label(empty & ndimage.binary_fill_holes(~empty))
    hollow = np.zeros(labels.shape, bool)
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        around = tuple(slice(max(at.start - 1, 0), at.stop + 1) for at in box)
        piece = pieces[around] == number
        beside = labels[around][ndimage.binary_dilation(piece) & ~piece]
        if (beside == EXTRAVENTRICULAR_CSF).mean() < FLUID:
            hollow[around] |= piece
    return hollow


def _refined(shares: Tensor, own: Grid, grid: Grid, possible: Bits) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The likeliest possible label at each voxel of another grid, with the probabilities between the own grid's voxels
    interpolated; beyond its field of view there is background."""
    step = torch.from_numpy(np.linalg.inv(own.affine) @ grid.affine)
    sizes = torch.tensor(own.shape, dtype=torch.float64)
    labels, torn = np.empty(grid.shape, np.uint8), np.empty(grid.shape, bool)
    for low in range(0, grid.shape[0], SLAB):
        high = min(low + SLAB, grid.shape[0])
        axes = [torch.arange(low, high), torch.arange(grid.shape[1]), torch.arange(grid.shape[2])]
        index = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).double()
        place = index @ step[:3, :3].T + step[:3, 3]
        # Both ends of an axis at ±1, and its last direction first, as grid_sample wants them.
        places = (2 * place / (sizes - 1) - 1).flip(-1).float().to(shares.device)
        found = functional.grid_sample(shares[None], places[None], align_corners=True)[0]
        labels[low:high], torn[low:high] = _likeliest(found, possible[low:high])
    return labels, torn


def _generator(seed: int) -> torch.Generator:
    mixed = np.random.SeedSequence([STREAM, seed]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed >> np.uint64(1)))
