"""Brings structures onto the model's Grid and holds them against what the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from vcm.conditions.condition import ClassSpec, ConditionSpec, Kind
from vcm.conditions.doctor.notebook import Notebook
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.field_of_view import MOST_LOST, filled_box, lost_voxels
from vcm.volumes.label_values import label_counts
from vcm.volumes.resampling import resample_labels

FULL = 0.95
CHANGED = 0.5
FAR_MM = 25.0
SPECKLED_PIECES = 30
SPECKLED_SHARE = 0.5


def drawn_volumes(spec: ConditionSpec, found: Volume) -> dict[str, float]:
    """The millilitres of each structure as drawn; `found` as `examine_structures` takes it."""
    counts = label_counts(found.array)
    return {c.name: counts.get(_value(spec, c), 0) * found.grid.voxel_ml for c in spec.classes}


def examine_structures(
    spec: ConditionSpec, found: Volume, drawn: Mapping[str, float], grid: Grid, notes: Notebook
) -> Volume | None:
    """The structures on the model's Grid, or None where an error was found.

    `found` holds 0/1 for a mask and the model's class values for labels, on the grid of its file; `drawn` are its
    `drawn_volumes`.
    """
    if not found.array.any():
        notes.error("EMPTY", f"{notes.who} is empty: no voxel is set.", "Paint or choose a structure first.")
        return None
    _check_loss(found, grid, notes)
    if notes.failed:
        return None
    result = resample_labels(found, grid)
    filled = float((result.array != 0).mean())
    if filled > FULL:
        notes.error(
            "FULL",
            f"{notes.who} fills {filled:.0%} of the model's field of view; a structure within the head is expected.",
            "If inside and outside are exchanged, invert the segmentation.",
        )
        return None
    for structure in spec.classes:
        _check_structure(spec, structure, drawn[structure.name], result, notes)
    if not result.array.any():
        notes.error(
            "VANISHED",
            f"{notes.who} is too thin for the model's voxels of {max(grid.spacing):g} mm: nothing of it is left.",
            "Thicken it, for instance with Margin › Grow in the Segment Editor.",
        )
    return None if notes.failed else result


def _check_loss(found: Volume, grid: Grid, notes: Notebook) -> None:
    lost = lost_voxels(found, grid)
    total = int((found.array != 0).sum())
    if not lost:
        return
    sentence = f"{notes.who}: {lost:,} of {total:,} voxels ({_percent(lost, total)}) lie outside the model's grid"
    if lost > MOST_LOST * total:
        notes.error(
            "VOXELS_LOST",
            f"{sentence}; most of the structure would be missing.",
            "Align the input to MNI space; the model's grid covers a head there.",
        )
    else:
        notes.warning("VOXELS_LOST", f"{sentence} and are left out.", "Check its alignment if they matter.")


def _value(spec: ConditionSpec, structure: ClassSpec) -> int:
    return structure.value if spec.kind is Kind.LABELS else 1


def _check_structure(spec: ConditionSpec, structure: ClassSpec, before: float, result: Volume, notes: Notebook) -> None:
    mask = result.array == _value(spec, structure)
    after = int(mask.sum()) * result.grid.voxel_ml
    if not before:
        notes.note(
            "CLASS_ABSENT",
            f"{notes.who} has no {structure.name}.",
            "The model is then asked for a head without it; leave the condition out if that is not meant.",
        )
        return
    if not after:
        if spec.kind is Kind.LABELS:
            notes.warning(
                "CLASS_VANISHED",
                f"{notes.who}: nothing of {structure.name} ({before:.2f} ml) is left on the model's grid; it lies "
                "outside or is too thin.",
                "Thicken it, or check its alignment.",
            )
        return
    if not CHANGED < after / before < 1 / CHANGED:
        notes.warning(
            "VOLUME_CHANGED",
            f"{notes.who}: the volume of {structure.name} is {before:.2f} ml in the file and {after:.2f} ml on the "
            "model's grid, as parts of it are thin or lie outside.",
            "Look at what the model sees.",
        )
    _check_typical(structure, after, notes)
    box = filled_box(mask)
    if box is not None:
        first = [part.start for part in box]
        _check_centroid(structure, result.grid.to_world(np.argwhere(mask[box]).mean(axis=0) + first), notes)
        _check_pieces(structure, mask[box], notes)


def _check_typical(structure: ClassSpec, ml: float, notes: Notebook) -> None:
    if structure.typical_ml is None:
        return
    low, high = structure.typical_ml
    if low <= ml <= high:
        return
    if ml > high:
        how = f"{ml / high:.1f} times the largest" if ml > 1.1 * high else "just above the largest"
    else:
        how = f"{ml / low:.1%} of the smallest" if ml < 0.9 * low else "just below the smallest"
    notes.warning(
        "UNTYPICAL_VOLUME",
        f"{notes.who}: the volume of {structure.name} is {ml:.1f} ml, {how} in training ({low:g} to {high:g} ml).",
        "The sample may not follow it; check that the right structure was chosen, or expect to inspect the result.",
    )


def _check_centroid(structure: ClassSpec, centroid: NDArray[np.float64], notes: Notebook) -> None:
    if structure.centroid_mm is None:
        return
    offset = centroid - structure.centroid_mm
    far = float(np.linalg.norm(offset))
    if far > FAR_MM:
        axis = int(np.abs(offset).argmax())
        direction = (("left", "right"), ("back", "front"), ("bottom", "top"))[axis][int(offset[axis] > 0)]
        notes.warning(
            "UNTYPICAL_PLACE",
            f"{notes.who}: the middle of {structure.name} lies {far:.0f} mm from where it lay in training, mostly to "
            f"the {direction}.",
            "Check the alignment to MNI space, and that left and right, top and bottom are not exchanged.",
        )


def _check_pieces(structure: ClassSpec, mask: NDArray[np.bool_], notes: Notebook) -> None:
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8).T), True)
    sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
    if len(sizes) > SPECKLED_PIECES and sizes.max() < SPECKLED_SHARE * sizes.sum():
        notes.warning(
            "SPECKLED",
            f"{notes.who}: {structure.name} is scattered over {len(sizes):,} pieces, the largest with "
            f"{_percent(int(sizes.max()), int(sizes.sum()))} of the whole.",
            "Remove the specks, for instance with Smoothing or Islands in the Segment Editor.",
        )


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 else f"{share:.1f} %" if share >= 0.1 else "under 0.1 %"
