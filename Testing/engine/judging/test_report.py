"""What stands in report.json, and what must not."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from faults import names
from vcm.conditions.attributes import AttributeSpec, AttributeValue
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.core.findings import Finding, Level
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment, ClassAlignment, ImageAlignment
from vcm.packs.manifest import Licence, Manifest, PackFile
from vcm.reporting.report import (
    Cost,
    SampleRecord,
    SamplingRecord,
    TwinRecord,
    build_report,
    condition_hash,
    file_name,
    write_report,
)

GRID = Grid((5, 7, 4), [[-2, 0, 0, 9], [0, 2, 0, -6], [0, 0, 2, 1], [0, 0, 0, 1]])
SECRET = "/home/clinic/Jane Doe 1961"


@dataclass(frozen=True, kw_only=True)
class Backbone(Manifest):
    contrast: str = "T1w"
    body_part: str = "BRAIN"


def manifest(name, *roles, kind=Manifest):
    return kind(
        name=name,
        title=name.title(),
        version="0.3.1",
        licence=Licence("Apache-2.0"),
        files={role: PackFile(f"{role}.safetensors", hashlib.sha256(role.encode()).hexdigest(), 9) for role in roles},
        networks={},
        trained=dict.fromkeys(roles, True),
    )


def mask(dtype=np.uint8):
    array = np.zeros(GRID.shape, dtype)
    array[1:3, 2:6, 1] = 1
    return array


def condition(array=None, grid=GRID, kind=Kind.MASK, **fields):
    spec = ConditionSpec("ventricles", kind, () if kind is Kind.IMAGE else (ClassSpec(1, "ventricles", (4,)),))
    return Condition(spec, Volume(mask() if array is None else array, grid), **fields)


ALIGNMENT = Alignment(
    (ClassAlignment("ventricles", "ventricles", 41.8, 40.9, 0.86, None, 0.9, "no distance"),),
    (ImageAlignment("skull", 12.0, 0.0021, 0.03),),
    "a judge",
)


def report(**changes):
    given = {
        "backbone": manifest("brainldm-mini", "denoiser", "autoencoder", kind=Backbone),
        "control": manifest("ventricles-mini", "control"),
        "conditions": [condition(source=f"{SECRET}/painted.nii.gz", strength=0.8, start=0.1, end=0.9)],
        "attributes": [AttributeValue(AttributeSpec("age", "Age", "years", 44, 82), 0.5, "given")],
        "sampling": SamplingRecord("dpm++", 20, 1, "fp32", "cpu", "The decoder runs in one piece."),
        "samples": [SampleRecord("sample-0.nii.gz", 1, ALIGNMENT, TwinRecord("uncontrolled-0.nii.gz", ALIGNMENT))],
        "segmenter": "Samples are measured by a judge.",
        "segmenter_labels": [ClassSpec(4, "lateral ventricles", (9,))],
        "condition_files": {"ventricles": "condition-0.nii.gz"},
        "findings": [
            Finding(Level.WARNING, "LOST", "ventricles", f"12 voxels of {SECRET}/painted.nii.gz are lost.", "Move it."),
            Finding(Level.NOTE, "DISK", "disk", "There is room."),
        ],
        "cost": Cost({"sample": np.float32(1.23456)}, {"peak_bytes": np.int64(7)}),
    }
    return build_report(**{**given, **changes})


def test_the_report_says_that_the_image_is_synthetic_and_not_for_diagnosis():
    made = report()
    assert made["synthetic"] is True
    assert "Synthetic" in made["notice"]
    assert "not for diagnosis" in made["notice"]


def test_the_report_has_exactly_the_fields_its_documentation_shows():
    page = (Path(__file__).parents[3] / "docs" / "report.md").read_text("utf-8")
    shown = json.loads(re.search(r"```json\n(.*?)```", page, re.S).group(1))
    made = report()
    assert list(made) == list(shown)
    for path in (
        ["packs", "backbone"],
        ["conditions", 0],
        ["conditions", 0, "classes", 0],
        ["conditions", 0, "findings", 0],
        ["segmenter_labels", 0],
        ["attributes", 0],
        ["sampling"],
        ["samples", 0],
        ["samples", 0, "alignment"],
        ["samples", 0, "alignment", "classes", 0],
        ["samples", 0, "alignment", "images", 0],
        ["samples", 0, "uncontrolled"],
    ):
        ours, theirs = made, shown
        for step in path:
            ours, theirs = ours[step], theirs[step]
        assert list(ours) == list(theirs), path


def test_no_folder_of_the_user_gets_into_the_report():
    text = json.dumps(report())
    assert "painted" not in text and "12 voxels of the ventricles file are lost" in text
    assert "Jane" not in text
    assert "clinic" not in text
    assert file_name(r"C:\patients\Jane\t1.nrrd:4") == "t1.nrrd:4"


def test_findings_stand_with_their_condition_and_the_others_apart():
    made = report()
    assert [finding["code"] for finding in made["conditions"][0]["findings"]] == ["LOST"]
    assert [finding["code"] for finding in made["findings"]] == ["DISK"]


def test_packs_are_named_with_the_hash_of_every_file():
    packs = report()["packs"]
    assert packs["backbone"]["files"]["denoiser"] == hashlib.sha256(b"denoiser").hexdigest()
    assert list(packs["backbone"]["files"]) == ["autoencoder", "denoiser"]
    assert report(control=None)["packs"]["control"] is None


def test_the_same_run_gives_the_same_text():
    assert json.dumps(report()) == json.dumps(report())


def test_the_file_is_strict_json_with_null_for_what_was_not_measured(tmp_path):
    write_report(tmp_path / "report.json", report(cost=Cost({"load": 1.0}, {"share": float("nan")})))
    text = (tmp_path / "report.json").read_text("utf-8")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["samples"][0]["alignment"]["classes"][0]["hd95_mm"] is None
    assert read["memory"]["share"] is None
    assert names(tmp_path) == ["report.json"]


def test_numbers_of_numpy_become_plain_numbers():
    made = report()
    assert made["timing_s"] == {"sample": 1.235}
    assert type(made["memory"]["peak_bytes"]) is int


def test_the_hash_of_a_condition_can_be_recomputed_from_its_description():
    expected = hashlib.sha256(
        b"mask 5 7 4\n" + GRID.affine.astype("<f8").tobytes() + mask().astype("<i4").tobytes()
    ).hexdigest()
    assert condition_hash(condition()) == expected
    assert report()["conditions"][0]["sha256"] == expected


def test_the_hash_does_not_depend_on_how_the_voxels_are_stored():
    expected = condition_hash(condition())
    for array in (mask(bool), mask(np.float64), np.asfortranarray(mask(np.int16)), mask(">i4")):
        assert condition_hash(condition(array)) == expected
    negative_zero = GRID.affine.copy()
    negative_zero[negative_zero == 0] = -0.0
    assert condition_hash(condition(grid=Grid(GRID.shape, negative_zero))) == expected


def test_the_hash_changes_with_a_voxel_the_place_and_the_kind():
    one_more = mask()
    one_more[4, 6, 3] = 1
    shifted = Grid(GRID.shape, GRID.affine + np.array([[0, 0, 0, 2.0]] + [[0] * 4] * 3))
    changed = [
        condition(one_more),
        condition(grid=shifted),
        condition(mask()[::-1]),
        condition(mask(np.float32), kind=Kind.IMAGE),
    ]
    hashes = {condition_hash(entry) for entry in [condition(), *changed]}
    assert len(hashes) == 5


def test_a_region_weight_is_recorded_by_its_hash():
    weight = Volume(np.linspace(0, 1, 140, dtype=np.float32).reshape(GRID.shape), GRID)
    with_region = report(conditions=[condition(region=weight)])["conditions"][0]["region_sha256"]
    assert len(with_region) == 64
    assert report()["conditions"][0]["region_sha256"] is None
