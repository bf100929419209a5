"""Cases to learn from, on the grid of what learns: a cohort's, or anyone's that offers the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vcm.cohort.case_conditions import condition_array, condition_spec
from vcm.cohort.contrasts import Contrasts, in_contrasts
from vcm.cohort.files import CaseEntry, read_cases
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid


class LearningCase(Protocol):
    """One case. `attributes` are raw (0–1); `stamp` changes when its files do."""

    @property
    def name(self) -> str: ...

    @property
    def attributes(self) -> Mapping[str, float]: ...

    @property
    def stamp(self) -> str: ...

    def image(self) -> NDArray[np.float32]:
        """Intensities in 0–1 on the grid."""
        ...

    def conditions(self, specs: Iterable[ConditionSpec]) -> dict[str, NDArray[Any]]:
        """By name, on the grid: masks as uint8 0/1, label maps as uint8 class values, images as float32 in 0–1."""
        ...


@dataclass(frozen=True)
class CohortCase:
    """A cohort's case on `grid`, which is the cohort's own or a whole number of times coarser."""

    entry: CaseEntry
    grid: Grid

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def attributes(self) -> Mapping[str, float]:
        return self.entry.attributes

    @property
    def stamp(self) -> str:
        files = sorted(self.entry.folder.glob("*.nii.gz"))
        return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)

    def image(self) -> NDArray[np.float32]:
        return self._intensities("image")

    def labels(self) -> NDArray[np.uint8]:
        """The segmenter's classes; on a coarser grid the commonest of each block."""
        volume = self.entry.read("labels")
        factor = self._factor(volume.grid)
        array = np.asarray(volume.array, np.uint8)
        if factor == 1:
            return array
        blocks = torch.stack(
            [
                functional.avg_pool3d(torch.from_numpy((array == n).astype(np.float32))[None], factor)[0]
                for n in range(int(array.max()) + 1)
            ]
        )
        return blocks.argmax(0).numpy().astype(np.uint8)

    def conditions(self, specs: Iterable[ConditionSpec]) -> dict[str, NDArray[Any]]:
        specs = tuple(specs)
        labels = self.labels() if any(spec.kind is not Kind.IMAGE for spec in specs) else None
        return {
            # An image is the case's part of that name.
            spec.name: self._intensities(spec.name).clip(0, 1) if labels is None or spec.kind is Kind.IMAGE
            else condition_array(spec, labels)
            for spec in specs
        }  # fmt: skip

    def _intensities(self, part: str) -> NDArray[np.float32]:
        volume = self.entry.read(part)
        factor = self._factor(volume.grid)
        array = np.asarray(volume.array, np.float32)
        if not np.isfinite(array).all():
            raise VcmError(Code.FILE_UNREADABLE, f"The {part} of case {self.name} holds values that are not numbers.")
        return functional.avg_pool3d(torch.from_numpy(array)[None], factor)[0].numpy() if factor > 1 else array

    def _factor(self, found: Grid) -> int:
        factor = round(found.shape[0] / self.grid.shape[0])
        whole = factor >= 1 and tuple(factor * n for n in self.grid.shape) == tuple(found.shape)
        if not whole or not found.downsampled(self.grid.shape).same_as(self.grid):
            raise VcmError(
                Code.GEOMETRY,
                f"Case {self.name} lies on a grid of {found.shape} voxels, the backbone's has {self.grid.shape} "
                "or lies elsewhere.",
                "Make the cohort on the backbone's grid: vcm cohort make --grid PACK, or bring scans in with "
                "vcm cohort from-folder.",
            )
        return factor


def cohort_cases(
    folder: Path,
    grid: Grid,
    count: int | None = None,
    contrasts: Contrasts = MappingProxyType({}),
) -> list[CohortCase]:
    """The cases of a cohort's folder, or the first `count` of them, on a backbone's grid; each in these contrasts."""
    return [CohortCase(entry, grid) for entry in in_contrasts(read_cases(folder)[:count], contrasts)]


def condition_specs(names: Iterable[str]) -> tuple[ConditionSpec, ...]:
    """What a cohort's conditions are; a name that a cohort does not have is refused."""
    return tuple(map(condition_spec, names))
