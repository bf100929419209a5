"""Files on the command line: every name a file can have, and every way to name a structure in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tiny
from command_line import vcm
from faults import MASK, RUN, image_file

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def mask(tmp_path):
    image_file(tmp_path / "mask.nii.gz", MASK)
    return tmp_path / "mask.nii.gz"


def report_in(folder):
    return json.loads((folder / "report.json").read_text("utf-8"))


@pytest.mark.parametrize(
    "name",
    [
        "with space.nii.gz",
        "größe 脳 ✓.nii.gz",
        "a=b.nii.gz",
        "12:30.nii.gz",
        "scan:4",
        " edge ",
        "-dash.nii.gz",
        "[b]x",
    ],
)
def test_every_name_of_a_file_and_a_folder_is_taken_as_it_is(mask, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    file = folder / (name if name.endswith(".nii.gz") else f"{name}.nii.gz")
    mask.rename(file)
    for path in (file, file.relative_to(tmp_path)):
        ended = vcm("doctor", "--pack", "tiny", "--condition", f"ventricles={path}", "--json")
        assert ended.code == 0, ended
        ended = vcm("doctor", "--pack", "tiny", "--condition", f"ventricles={path}:1")
        assert ended.code == 0 and "ventricles is usable" in ended.out
    ended = vcm(*RUN, "--condition", f"ventricles={file.relative_to(tmp_path)}", f"--out={name}/out", "--samples", 1)
    assert ended.code == 0 and report_in(folder / "out")["conditions"][0]["name"] == "ventricles"
    missing = vcm("doctor", "--pack", "tiny", "--condition", f"ventricles={folder / 'gone.nii.gz'}")
    assert str(folder / "gone.nii.gz") in missing.err


def test_a_name_that_is_no_text_at_all_is_taken_too(mask, tmp_path):
    file, out = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.nii.gz")), tmp_path / "out"
    mask.rename(file)
    ended = vcm(*RUN, "--condition", f"ventricles={file}", "--out", out)
    assert ended.code == 0 and report_in(out)["complete"]


@pytest.fixture
def segmentation(tmp_path):
    """A label map with names, as Slicer saves a segmentation: unlike structures with the values 7, 5 and 2."""
    array = MASK * 7
    array[2:5, 3:6, 4:7], array[10, 20, 28:31] = 5, 2
    image = sitk.GetImageFromArray(array.T)
    affine = np.diag([-1, -1, 1, 1]) @ tiny.GRID.affine
    image.SetSpacing(tiny.GRID.spacing)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / tiny.GRID.spacing).ravel().tolist())
    for index, (value, name) in enumerate(((7, "Lateral ventricles"), (5, "Tumour: left"), (2, "Ventricle 3"))):
        image.SetMetaData(f"Segment{index}_LabelValue", str(value))
        image.SetMetaData(f"Segment{index}_Name", name)
    sitk.WriteImage(image, str(tmp_path / "all.seg.nrrd"))
    return tmp_path / "all.seg.nrrd"


@pytest.mark.parametrize(
    ("label", "voxels"),
    [("7", 140), ("5", 27), ("5,2", 30), ("Lateral ventricles", 140), ("lateral_VENTRICLES", 140), ("Ventricle 3", 3)],
)
def test_a_structure_is_named_by_number_or_by_the_name_of_its_segment(segmentation, label, voxels):
    ended = vcm("doctor", "--pack", "tiny", "--condition", f"ventricles={segmentation}:{label}", "--json")
    assert ended.code == 0
    assert ended.json["conditions"][0]["millilitres"]["ventricles"] == pytest.approx(voxels * 0.064)


def test_a_structure_that_is_not_there_or_not_said_is_told_with_those_there_are(segmentation):
    for given in (segmentation, f"{segmentation}:6", f"{segmentation}:Thalamus"):
        ended = vcm("doctor", "--pack", "tiny", "--condition", f"ventricles={given}")
        assert ended.code == 1 and "all.seg.nrrd" in ended.err and "7 Lateral ventricles (140 voxels)" in ended.err
