"""One examination: an input, what the control expects of it, and what came of holding the two together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import is_named
from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.conditions.doctor.intensities import check_finite, examine_image
from vcm.conditions.doctor.labels import map_classes, pick_mask, whole_labels
from vcm.conditions.doctor.notebook import Notebook
from vcm.conditions.doctor.place import check_place, placed
from vcm.conditions.doctor.pose import check_pose
from vcm.conditions.doctor.skull import check_skull
from vcm.conditions.doctor.structures import drawn_volumes, examine_structures
from vcm.core.findings import Finding
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.registration.reference import Reference
from vcm.volumes.volume_files import VolumeFile


@dataclass(frozen=True, eq=False)
class Examination:
    """What the doctor found about one input; `condition` is ready for a control, or None where an error was found."""

    name: str
    condition: Condition | None
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """The examination for `--json` and reports; `millilitres` holds each structure's volume on the model's Grid."""
        return {
            "condition": self.name,
            "usable": self.condition is not None,
            "millilitres": self._millilitres(),
            "findings": [finding.as_dict() for finding in self.findings],
        }

    def _millilitres(self) -> dict[str, float]:
        condition = self.condition
        if condition is None or condition.spec.kind is Kind.IMAGE:
            return {}
        return {
            c.name: round(int(condition.structure(c.name).sum()) * condition.volume.grid.voxel_ml, 3)
            for c in condition.spec.classes
        }


def examine(
    spec: ConditionSpec,
    file: VolumeFile | Volume,
    grid: Grid,
    *,
    label: int | str | None = None,
    source: str = "",
    reference: Reference | None = None,
) -> Examination:
    """Check an input against what a control accepts and bring it onto the backbone's Grid.

    `label` names the structure of a mask condition in a file with several: a number, a segment's name, or several of
    them with commas between. `source` is what the findings call the input; without it, its path. The pose of an
    image is measured against the `reference` head of the model, where it has one.

    >>> import numpy as np
    >>> grid = Grid((8, 9, 10), np.eye(4))
    >>> spec = ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})
    >>> examine(spec, Volume(np.zeros((8, 9, 10), np.uint8), grid), grid, source="blank.nii.gz").findings[0].sentence
    'blank.nii.gz is empty: no voxel is set.'
    """
    source = source or (str(file.path) if isinstance(file, VolumeFile) else "")
    notes = Notebook(spec.name, source or f"The {spec.name} input")
    volume = placed(file, grid, notes)
    drawn: dict[str, float] = {}
    if spec.kind is Kind.IMAGE:
        _refuse_label(spec, label, notes)
        result = examine_image(volume, grid, notes)
        if result is not None and is_named(spec.name, "skull"):
            check_skull(result, notes)
        if result is not None and reference is not None:
            check_pose(volume, reference, notes)
    else:
        names = file.segment_names if isinstance(file, VolumeFile) else {}
        result, drawn = _examine_labels(spec, volume, grid, names, label, notes)
    condition = None if result is None or notes.failed else Condition(spec, result, source=source, drawn_ml=drawn)
    return Examination(spec.name, condition, notes.findings)


def _examine_labels(
    spec: ConditionSpec, volume: Volume, grid: Grid, names: dict[int, str], label: int | str | None, notes: Notebook
) -> tuple[Volume | None, dict[str, float]]:
    """The structures on the model's Grid, and the millilitres of each as drawn."""
    labels = whole_labels(volume.array, notes) if check_finite(volume, notes) else None
    if labels is None:
        return None, {}
    found: NDArray[np.integer] | None
    if spec.kind is Kind.MASK:
        found = pick_mask(spec, labels, names, label, notes)
    else:
        _refuse_label(spec, label, notes)
        found = map_classes(spec, labels, names, notes)
    check_place(volume, grid, notes, is_image=False)
    if found is None or notes.failed:
        return None, {}
    structures = Volume(found, volume.grid)
    drawn = drawn_volumes(spec, structures)
    return examine_structures(spec, structures, drawn, grid, notes), drawn


def _refuse_label(spec: ConditionSpec, label: int | str | None, notes: Notebook) -> None:
    if label is not None:
        notes.error(
            "LABEL_NOT_WANTED",
            f"{spec.name} takes the whole of {notes.who}, yet its label {label} was asked for.",
            f"Leave out :{label}.",
        )
