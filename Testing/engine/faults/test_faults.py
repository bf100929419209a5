"""Bad inputs of every kind: each ends in a sentence that names the file, what was expected and what was found."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import numpy as np
import pytest
import tiny
from command_line import vcm
from faults import MASK, RUN, image_file, nifti_file, told, untouched, without_its_end, write_bomb
from phantoms import ALL_ORIENTATIONS, grid_in, head_labels, tilted
from vcm.conditions.condition import ConditionSpec
from vcm.core.grid import Grid
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import find_pack
from vcm.reporting.report import condition_hash
from vcm.runs.job import ConditionFile
from vcm.runs.run import examine_conditions

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def mask(tmp_path):
    image_file(tmp_path / "mask.nii.gz", MASK)
    return tmp_path / "mask.nii.gz"


def cut(path):
    image_file(path, np.random.default_rng(1).integers(0, 2, MASK.shape, np.uint8))
    without_its_end(path)


def with_nan(path):
    array = MASK.astype(np.float32)
    array[1, 2, 3] = np.nan
    nifti_file(path, array)


def far_away(path):
    affine = tiny.GRID.affine.copy()
    affine[1, 3] += 900
    image_file(path, MASK, Grid(MASK.shape, affine))


BAD_FILES = {
    "missing": ("gone.nii.gz", lambda path: None, ["There is no file"]),
    "folder": ("dicom.nii.gz", lambda path: path.mkdir(), ["is a folder"]),
    "empty file": ("zero.nii.gz", lambda path: path.touch(), ["damaged or incomplete", "empty"]),
    "cut gzip": ("cut.nii.gz", cut, ["damaged or incomplete"]),
    "cut nifti": ("cut.nii", cut, ["damaged or incomplete", "should hold 12,640 bytes and has 6,320"]),
    "cut nrrd": ("cut.nrrd", cut, ["damaged or incomplete"]),
    "text as nifti": ("notes.nii.gz", lambda path: path.write_text("patient seen\n" * 99), ["does not hold one"]),
    "text as nrrd": ("notes.nrrd", lambda path: path.write_text("patient seen\n" * 99), ["does not hold one"]),
    "gzipped text": ("notes.nii.gz", lambda path: path.write_bytes(gzip.compress(b"x" * 999)), ["does not hold one"]),
    "picture": ("photo.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), ["not a NIfTI, MGH or NRRD image"]),
    "pipe": ("pipe.nii.gz", os.mkfifo, ["not an ordinary file"]),
    "long name": ("n" * 300 + ".nii.gz", lambda path: None, []),
    "NaN": ("nan.nii.gz", with_nan, ["1 voxels that are not a number", "out of 12,288"]),
    "2-D": ("flat.nii.gz", lambda path: nifti_file(path, MASK[5, :, :]), ["flat picture (24 × 32)", "3-D"]),
    "4-D": ("series.nii.gz", lambda path: nifti_file(path, np.stack([MASK] * 3, -1)), ["16 × 24 × 32 × 3", "one 3-D"]),
    "colours": ("rgb.nii.gz", lambda path: nifti_file(path, MASK, datatype=128), ["colours", "one real number"]),
    "complex": ("wave.nii.gz", lambda path: nifti_file(path, MASK.astype(np.complex64), datatype=32), ["complex"]),
    "no spacing": ("null.nrrd", lambda path: path.write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
        "space directions: (0,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: ascii\n\n1 1 1 1 1 1 1 1\n"
    ), ["where its voxels lie"]),
    "empty mask": ("blank.nii.gz", lambda path: image_file(path, MASK * 0), ["is empty", "no voxel is set"]),
    "full mask": ("full.nii.gz", lambda path: image_file(path, MASK * 0 + 1), ["100%", "within the head"]),
    "fractions": ("p.nii.gz", lambda path: image_file(path, MASK * np.float32(0.7)), ["140 voxels", "whole number"]),
    "many labels": ("all.nii.gz", lambda path: image_file(path, MASK * (np.arange(32) // 14 + 1).astype(np.uint8)),
                    ["holds 2 labels", "1 (56 voxels), 2 (84 voxels)"]),
    "far away": ("far.nii.gz", far_away, ["outside"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_what_was_expected_and_found(tmp_path, kind):
    name, make, words = BAD_FILES[kind]
    make(tmp_path / name)
    with untouched(tmp_path):
        for command in (RUN, ("doctor", "--pack", "tiny")):
            ended = vcm(*command, "--condition", f"ventricles={tmp_path / name}", "--out", tmp_path / "out")
            if command == RUN:
                told(ended, name, *words)
            assert ended.code == 1 and name in ended.err and "Traceback" not in ended.err


def test_a_label_that_is_not_there_is_named_with_those_there_are(tmp_path):
    image_file(tmp_path / "seg.nii.gz", MASK * 7)
    with untouched(tmp_path):
        told(
            vcm(*RUN, "--condition", f"ventricles={tmp_path}/seg.nii.gz:4", "--out", tmp_path / "out"),
            "seg.nii.gz", "no label 4", "7 (140 voxels)",
        )  # fmt: skip


def test_unknown_labels_count_as_background_and_no_known_one_is_an_error(tmp_path, tiny_packs, monkeypatch):
    packs = tmp_path / "packs"
    shutil.copytree(tiny_packs, packs)
    (packs / "tiny-parts").mkdir()
    (packs / "tiny-parts" / "control.safetensors").write_bytes(b"not read by the doctor")
    classes = [{"value": 3, "name": "left"}, {"value": 9, "name": "right"}]
    parts = [{"name": "parts", "kind": "labels", "classes": classes}]
    content = json.loads((packs / "tiny-both" / "manifest.json").read_text())
    write_manifest(packs / "tiny-parts", content | {"name": "tiny-parts", "conditions": parts})
    monkeypatch.setenv("VCM_PACKS", str(packs))
    array = MASK * 3
    array[2, 3, 4:9] = 77
    image_file(tmp_path / "some.nii.gz", array)
    ended = vcm("doctor", "--pack", "tiny", "--condition", f"parts={tmp_path}/some.nii.gz")
    assert ended.code == 0 and "warning: " in ended.err and "77 (5 voxels)" in ended.err and "some.nii.gz" in ended.err
    image_file(tmp_path / "none.nii.gz", MASK * 77)
    ended = vcm("doctor", "--pack", "tiny", "--condition", f"parts={tmp_path}/none.nii.gz")
    assert ended.code == 1 and "77 (140 voxels)" in ended.err and "3 left, 9 right" in ended.err


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_all_48_orientations_of_a_file_are_one_condition(tmp_path, ending):
    pack, control = find_pack("tiny"), find_pack("tiny-both")
    spec = ConditionSpec.from_dict(tiny.CONDITIONS[0])
    seen = set()
    for turned in ALL_ORIENTATIONS:
        shape = [tiny.GRID.shape["RLAPSI".index(letter) // 2] for letter in turned]
        grid = grid_in(turned, shape, (4.0, 4.0, 4.0), tiny.GRID.centre)
        world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
        i, j, k = np.moveaxis(np.rint(tiny.GRID.to_voxel(world)).astype(int), -1, 0)
        path = tmp_path / f"{turned}{ending}"
        image_file(path, MASK[i, j, k], grid)
        (examination,) = examine_conditions([ConditionFile("ventricles", path)], pack, control)
        assert np.array_equal(examination.condition.volume.array, MASK), turned
        seen.add(condition_hash(examination.condition))
    assert len(ALL_ORIENTATIONS) == 48 and len(seen) == 1 and examination.condition.spec == spec


def test_an_oblique_file_of_another_spacing_lands_in_its_place(tmp_path):
    grid = tilted(grid_in("PSL", (61, 55, 48), (2.0, 1.7, 2.3), tiny.GRID.centre), 23)
    image_file(tmp_path / "oblique.nii.gz", head_labels(grid).array, grid)
    ended = vcm(*RUN, "--condition", f"ventricles={tmp_path}/oblique.nii.gz:1", "--json", "--out", tmp_path / "out")
    assert ended.code == 0
    report = ended.json
    codes = {finding["code"] for finding in report["conditions"][0]["findings"]}
    assert {"OBLIQUE", "REORIENTED"} <= codes
    (entry,) = report["samples"][0]["alignment"]["classes"]
    assert entry["requested_ml"] == pytest.approx(4 / 3 * np.pi * 9**3 / 1000, rel=0.15)


BAD_NOISE = {
    "missing": (lambda path: None, "There is no file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "text": (lambda path: path.write_text("0.1 0.2"), "cannot be read"),
    "archive": (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "not an archive"),
    "broken archive": (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 50), "not an archive"),
    "shape": (lambda path: np.save(path, np.zeros((2, 3, 4))), "3 × 4 × 6 × 8"),
    "NaN": (lambda path: np.save(path, np.full(tiny.LATENT, np.nan)), "576 of its 576"),
    "words": (lambda path: np.save(path, np.array(["a"])), "<U1"),
    "monstrous": (lambda path: path.write_bytes(
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(118)
    ), "cannot be read"),
    "header": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': (((".ljust(128)), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_NOISE)
def test_bad_noise_is_named(tmp_path, kind):
    make, words = BAD_NOISE[kind]
    make(tmp_path / "noise.npy")
    with untouched(tmp_path):
        ended = vcm(*RUN, "--noise", tmp_path / "noise.npy", "--out", tmp_path / "out")
        told(ended, str(tmp_path / "noise.npy"), words, code=ended.code)
        assert ended.code in (1, 2)


@pytest.mark.parametrize("kind", ["missing", "cut gzip", "NaN", "4-D", "far away", "empty mask"])
def test_a_bad_region_is_named(tmp_path, mask, kind):
    name, make, _ = BAD_FILES[kind]
    make(tmp_path / name)
    with untouched(tmp_path):
        region = f"--region=ventricles={tmp_path / name}"
        told(vcm(*RUN, f"--condition=ventricles={mask}", region, "--out", tmp_path / "out"), name)


def test_noise_with_code_in_it_is_refused_and_the_code_never_runs(tmp_path):
    write_bomb(tmp_path / "noise.npy", tmp_path / "trace", "npy")
    with untouched(tmp_path):
        told(vcm(*RUN, "--noise", tmp_path / "noise.npy", "--out", tmp_path / "out"), "noise.npy", "cannot be read")
