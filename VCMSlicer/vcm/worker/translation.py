"""Between the protocol's words and the engine's: strings here, paths and reports there.

The module for Slicer reads reports by it, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.core.typed_json import read_fields
from vcm.protocol import (
    AlignmentSummary,
    ConditionInput,
    Generate,
    Generated,
    GeneratedSample,
    GivenCondition,
    Label,
    Register,
    Registered,
)
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.results_folder import MONTAGE, REPORT

if TYPE_CHECKING:
    from vcm.runs.registering import RegisterResult


def condition_file(entry: ConditionInput) -> ConditionFile:
    """A condition as the engine takes it."""
    region = Path(entry.region_path) if entry.region_path is not None else None
    return ConditionFile(entry.name, Path(entry.path), entry.label, entry.strength, entry.start, entry.end, region)


def generate_job(request: Generate) -> GenerateJob:
    """A Generate as the engine takes it."""
    noise = Path(request.noise_path) if request.noise_path is not None else None
    conditions, yields = tuple(map(condition_file, request.conditions)), request.control_may_give_way
    return GenerateJob(Path(request.out), conditions, noise, control_may_give_way=yields, **request.options)


def generated(request: Generate, report: Mapping[str, Any]) -> Generated:
    """The ending of a Generate, from the report it left."""
    folder = Path(request.out)
    return Generated(
        request.id,
        request.out,
        tuple(_sample(folder, entry, report) for entry in report["samples"]),
        str(folder / REPORT),
        str(folder / MONTAGE) if MONTAGE in report["files"] else None,
        tuple(_given(folder, entry) for entry in report["conditions"] if entry["file"]),
    )


def registered(request: Register, result: RegisterResult) -> Registered:
    """The ending of a Register."""
    from vcm.runs.registering import OVERLAY, TRANSFORM

    matrix = result.report["scan_to_model_ras_mm"]
    return Registered(
        request.id,
        verdict=result.found.verdict.value,
        words=result.found.words,
        similarity=result.found.similarity,
        coverage=result.found.coverage,
        degrees=result.found.pose.degrees,
        shift_mm=result.found.shift_mm,
        scan_to_model=tuple(number for row in matrix or () for number in row),
        overlay_path=str(result.folder / OVERLAY),
        transform_path=str(result.folder / TRANSFORM) if matrix else None,
    )


def _given(folder: Path, entry: Mapping[str, Any]) -> GivenCondition:
    labels = tuple(Label(c["value"], c["name"], tuple(c["segmenter"])) for c in entry["classes"])
    return GivenCondition(entry["name"], str(folder / entry["file"]), labels)


def _sample(folder: Path, entry: Mapping[str, Any], report: Mapping[str, Any]) -> GeneratedSample:
    twin = entry["uncontrolled"] or {"file": None, "alignment": None}
    layout = entry.get("layout") or {"file": None, "alignment": None}
    return GeneratedSample(
        path=str(folder / entry["file"]),
        seed=entry["seed"],
        alignment=_alignment(entry["alignment"]),
        uncontrolled_path=str(folder / twin["file"]) if twin["file"] else None,
        uncontrolled_alignment=_alignment(twin["alignment"]),
        segmentation_path=str(folder / entry["segmentation"]) if entry["segmentation"] else None,
        labels=_labels(report["segmenter_labels"]) if entry["segmentation"] else (),
        layout_path=str(folder / layout["file"]) if layout["file"] else None,
        layout_alignment=_alignment(layout["alignment"]),
        layout_labels=_labels(report["layout"]["labels"]) if layout["file"] else (),
        contrast=entry.get("contrast", ""),
    )


def _labels(entries: Iterable[Mapping[str, Any]]) -> tuple[Label, ...]:
    return tuple(Label(entry["value"], entry["name"]) for entry in entries)


def _alignment(entry: Mapping[str, Any] | None) -> AlignmentSummary | None:
    if entry is None:
        return None
    summary: AlignmentSummary = read_fields(AlignmentSummary, entry)
    return summary
