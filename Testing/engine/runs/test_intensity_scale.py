"""Images in the numbers that a manifest names, such as those of CT: in the files of a run, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from command_line import vcm
from tiny import GRID, write_packs
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.packs.manifest import IntensityScale
from vcm.packs.store import find_pack
from vcm.runs.job import GenerateJob
from vcm.runs.request_hash import hash_request
from vcm.volumes.volume_files import write_volume


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Write an `intensity` into the manifest of `tiny`."""
    folder = tmp_path / "packs"
    write_packs(folder)
    monkeypatch.setenv("VCM_PACKS", str(folder))
    path = folder / "tiny" / "manifest.json"

    def name(low: float, high: float):
        entry = {"low": low, "high": high, "unit": "HU"}
        path.write_text(json.dumps({**json.loads(path.read_text()), "intensity": entry}))
        return find_pack("tiny")

    return name


def made(folder: Path, mask: Path) -> tuple[dict[str, np.ndarray], str, dict]:
    ended = vcm("generate", "--pack=tiny", f"--condition=ventricles={mask}", "--uncontrolled", "--seed=3", "--steps=2",
                "--preview-every=1", f"--out={folder}")  # fmt: skip
    assert ended.code == 0, ended.err
    images = {
        name: nib.load(folder / f"{name}-0.nii.gz") for name in ("sample", "uncontrolled", "preview", "condition")
    }
    report = json.loads((folder / "report.json").read_text())
    words = bytes(images["sample"].header["descrip"]).decode() + str(nib.load(folder / "sample-0.nii.gz").header)
    return {name: np.asarray(image.dataobj) for name, image in images.items()}, words, report["samples"][0]["alignment"]


def test_samples_and_twins_are_written_in_the_unit_and_measured_without_it(named, tmp_path):
    array = np.zeros(GRID.shape, np.uint8)
    array[5:9, 8:15, 12:17] = 1
    write_volume(tmp_path / "mask.nii.gz", Volume(array, GRID))
    plain, _, alignment = made(tmp_path / "plain", tmp_path / "mask.nii.gz")
    named(-1000, 3000)
    scaled, words, measured = made(tmp_path / "scaled", tmp_path / "mask.nii.gz")
    for name in ("sample", "uncontrolled"):
        assert plain[name].std() > 0 and scaled[name].dtype == np.float32
        assert np.allclose(scaled[name], plain[name].clip(0, 1) * 4000 - 1000, atol=1e-2)
    assert not np.array_equal(scaled["sample"], scaled["uncontrolled"])
    for name in ("preview", "condition"):
        assert np.array_equal(scaled[name], plain[name]), "masks and what forms are no images in that unit"
    assert measured == alignment and "in HU" in words


def test_the_ends_are_the_manifest_s_own():
    image = Volume(
        np.array([-0.25, 0, 0.25, 1, 1.5], np.float32).reshape(1, 1, 5).repeat(2, 0), GRID.downsampled((2, 1, 5))
    )
    assert IntensityScale(-1000, 3000, "HU").applied(image).array[1, 0].tolist() == [-1000, -1000, 0, 3000, 3000]


def test_results_on_another_scale_are_not_taken_for_the_same(named, tmp_path):
    assert "HU" not in vcm("packs", "info", "tiny").out
    job = GenerateJob(tmp_path / "out", pack="tiny", seed=1)
    before = hash_request(job, find_pack("tiny"), None)
    assert len({before, hash_request(job, named(-1000, 3000), None), hash_request(job, named(-1000, 1000), None)}) == 3
    assert "-1000 to 1000 HU" in vcm("packs", "info", "tiny").out


def test_a_scale_that_ends_where_it_begins_is_refused(named):
    with pytest.raises(VcmError, match="must lie below its high"):
        named(5, 5)
