"""What an evaluation has finished, a file a case, so that a killed run goes on and ends with the same table.

evaluation.json                what is evaluated, and how
cases/00000.json               the numbers of a case; written last, so a case is there whole or not at all
cases/00000.safetensors        the features of its images, where sets are compared
images/00000-controlled….nii.gz  its images, where they are kept
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import refuse_unordinary
from vcm.core.typed_json import as_json, read_fields
from vcm.core.volume import Volume
from vcm.evaluation.measures.measurement import Made, Measurement
from vcm.outputs.atomic_files import atomic_path
from vcm.outputs.claims import Claim, entries_of
from vcm.outputs.sealed_json import read_sealed, write_sealed
from vcm.volumes.volume_files import read_volume, write_volume

SETTINGS = "evaluation.json"
DESCRIPTION = "synthetic head"
STATE = re.compile(r".+\.(json|safetensors|nii\.gz)")
OWN_FILES = re.compile(r".+\.(json|safetensors|nii\.gz|csv|md|png)")


@dataclass(frozen=True, eq=False)
class CaseResult:
    """The numbers of one case, and the features `[n, d]` of its images by `image/measure`."""

    case: str
    measurements: tuple[Measurement, ...]
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


def claim_evaluation(folder: Path, inputs: Iterable[Path] = ()) -> Claim:
    """The folder of an evaluation, for one process alone; what earlier versions wrote there is taken for ours."""

    def is_of_an_evaluation(file: Path) -> bool:
        return bool(OWN_FILES.fullmatch(file.name)) and "format" in (_read(folder / SETTINGS) or {})

    return Claim(
        folder, inputs=inputs, remedy="Choose another folder with --out.", state=STATE, of_ours=is_of_an_evaluation
    )


class ResultStore:
    """The folder of one evaluation, claimed with `claim_evaluation` by who works in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, settings: Mapping[str, Any]) -> ResultStore:
        """Begin in an empty folder, or go on where an evaluation with the same settings was stopped."""
        path = folder / SETTINGS
        if path.is_file():
            earlier = _read(path) or {}
            for name, value in settings.items():
                if earlier.get(name) != value:
                    raise VcmError(
                        Code.BAD_REQUEST,
                        f"{folder} holds an evaluation with another {name}: {earlier.get(name)}, not {value}.",
                        "Choose another folder with --out, or go on with the same settings.",
                    )
        elif folder.exists() and (not folder.is_dir() or entries_of(folder)):
            raise VcmError(
                Code.BAD_REQUEST,
                f"{folder} is no folder of an evaluation, and it is not empty.",
                "Choose another folder with --out.",
            )
        else:
            write_sealed(path, settings)
        return cls(folder)

    def load(self, case: str, inputs: str) -> CaseResult | None:
        """The finished result of a case, unless it is missing, damaged, or was made of other inputs."""
        entry = _read(self._file(case, "json"))
        if entry is None or entry.get("inputs") != inputs:
            return None
        try:
            kept = set(entry["features"])
            rows = tuple(read_fields(Measurement, row) for row in entry["measurements"])
            features = self._features(case) if entry["features"] else {}
        except (VcmError, *MALFORMED):
            return None
        return CaseResult(case, rows, features) if kept == set(features) else None

    def save(self, result: CaseResult, inputs: str) -> None:
        """Keep a finished case."""
        if result.features:
            from safetensors.numpy import save_file

            with atomic_path(self._file(result.case, "safetensors")) as temporary:
                save_file({name: np.ascontiguousarray(array) for name, array in result.features.items()}, temporary)
        write_sealed(
            self._file(result.case, "json"),
            {
                "case": result.case,
                "inputs": inputs,
                "features": sorted(result.features),
                "measurements": as_json(result.measurements),
            },
        )

    def keep_image(self, case: str, made: Made, image: Volume) -> None:
        """Keep an image that was made for a case."""
        volume = Volume(image.array.astype(np.float32), image.grid)
        write_volume(self.image_file(case, made), volume, description=DESCRIPTION)

    def image(self, case: str, made: Made) -> Volume:
        """An image that was kept."""
        return read_volume(self.image_file(case, made))

    def has_images(self, case: str, every: Sequence[Made]) -> bool:
        """Whether these images were kept."""
        return all(self.image_file(case, made).is_file() for made in every)

    def image_file(self, case: str, made: Made) -> Path:
        """Where an image is kept."""
        return self.folder / "images" / f"{case}-{made.key}.nii.gz"

    def _file(self, case: str, ending: str) -> Path:
        return self.folder / "cases" / f"{case}.{ending}"

    def _features(self, case: str) -> dict[str, NDArray[np.float32]]:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        refuse_unordinary(self._file(case, "safetensors"))
        try:
            return load_file(self._file(case, "safetensors"))
        except SafetensorError as error:
            raise ValueError(str(error)) from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_sealed(path)
    except VcmError:
        return None
