"""Full disks, closed folders and killed runs: nothing half-written stays in place, nothing of the user's is lost."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import torch
from command_line import Apart, RoomFor, vcm, vcm_apart, without_privileges
from faults import MASK, RUN, image_file, names, state_of, told, untouched
from safetensors.torch import load_file, save_file
from vcm.outputs.claims import WORK
from vcm.packs.manifest_reading import write_manifest
from vcm.volumes.volume_files import read_volume

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def mask(tmp_path):
    image_file(tmp_path / "mask.nii.gz", MASK)
    return tmp_path / "mask.nii.gz"


@pytest.fixture
def earlier(tmp_path):
    """The folder of an earlier run, with a file of the user's own in it."""
    assert vcm(*RUN[:-1], 1, "--samples", 2, "--out", tmp_path / "out").code == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    return tmp_path / "out"


def check_true(out, samples):
    """That the report names exactly what of ours is there, and that all of it can be read."""
    report = json.loads((out / "report.json").read_text())
    assert report["complete"] is False and len(report["samples"]) == samples
    assert {*report["files"], "notes.txt"} == {*names(out), "notes.txt"}
    for sample in report["samples"]:
        assert np.isfinite(read_volume(out / sample["file"]).array).all()
    return report


def test_a_disk_that_is_full_at_the_first_sample_leaves_the_earlier_results(tmp_path, earlier):
    room = RoomFor((earlier / "sample-0.nii.gz").stat().st_size - 2000)
    with untouched(tmp_path):
        told(vcm_apart(tmp_path, *RUN, "--out", earlier, hardship=room), f"{earlier}/sample-0.nii.gz", "disk is full")
    with untouched(tmp_path):
        new = tmp_path / "new"
        told(vcm_apart(tmp_path, *RUN, "--out", new, hardship=room), f"{new}/sample-0.nii.gz", "disk is full")


def test_a_disk_that_is_full_at_the_picture_keeps_the_sample(tmp_path, earlier):
    room = RoomFor((earlier / "montage.png").stat().st_size // 2)
    assert room.size > (earlier / "sample-0.nii.gz").stat().st_size
    told(vcm_apart(tmp_path, *RUN, "--out", earlier, hardship=room), f"{earlier}/montage.png", "disk is full")
    assert check_true(earlier, 1)["samples"][0]["seed"] == 3
    assert names(earlier) == ["notes.txt", "report.json", "sample-0.nii.gz"]


@pytest.fixture
def dull_packs(tmp_path, tiny_packs, monkeypatch):
    """A backbone whose images are one grey, so that they are smaller than their report."""
    shutil.copytree(tiny_packs, tmp_path / "packs")
    home = tmp_path / "packs" / "tiny"
    weights = load_file(home / "autoencoder.safetensors")
    weights = {n: torch.zeros_like(w) if n.startswith("decoder") else w for n, w in weights.items()}
    save_file(weights, home / "autoencoder.safetensors")
    write_manifest(home, json.loads((home / "manifest.json").read_text()))
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))


def test_a_disk_that_is_full_at_the_report_leaves_the_earlier_results(tmp_path, dull_packs, earlier):
    sample, report = ((earlier / name).stat().st_size for name in ("sample-0.nii.gz", "report.json"))
    room = RoomFor(report - 300)
    assert sample < room.size
    with untouched(tmp_path):
        told(vcm_apart(tmp_path, *RUN, "--out", earlier, hardship=room), f"{earlier}/report.json", "disk is full")


def test_a_file_system_without_room_is_told_as_a_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=36k", "tmpfs", disk]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    # Not everyone may mount; a limit on the size of files is the next best thing.
    hardship = None if mounted else RoomFor(20_000)
    try:
        (disk / "precious.txt").write_text("mine")
        with untouched(disk):
            ended = vcm_apart(tmp_path, *RUN, "--out", disk / "out", hardship=hardship)
            told(ended, f"{disk}/out/sample-0.nii.gz", "disk is full")
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


def test_a_folder_without_write_permission_is_refused_before_the_model_is_loaded(tmp_path, earlier):
    for folder, place in ((tmp_path / "closed", tmp_path / "closed" / "out"), (earlier, earlier)):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o555)
        with untouched(tmp_path):
            ended = vcm_apart(tmp_path, *RUN, "--out", place, hardship=without_privileges)
            told(ended, str(place), "Permission denied")
            assert "loading" not in ended.err
        folder.chmod(0o755)


@pytest.mark.parametrize("place", ["/proc/out", "/dev/null/out", "/dev/null"])
def test_a_place_where_nothing_can_be_kept_is_refused(place):
    ended = vcm(*RUN, "--out", place)
    told(ended, place, code=ended.code)
    assert ended.code in (1, 2)


def test_a_file_that_may_not_be_read_is_named(tmp_path, mask):
    (tmp_path / "closed").mkdir()
    hidden = tmp_path / "closed" / "mask.nii.gz"
    hidden.write_bytes(mask.read_bytes())
    hidden.parent.chmod(0)
    mask.chmod(0)
    for path in (mask, hidden):
        command = (*RUN, f"--condition=ventricles={path}", "--out", tmp_path / "out")
        ended = vcm_apart(tmp_path, *command, hardship=without_privileges)
        told(ended, str(path))
    hidden.parent.chmod(0o755)


def test_a_run_that_is_killed_within_a_file_leaves_no_half_of_it_and_the_next_one_cleans_up(tmp_path, earlier):
    kept = state_of(earlier)
    ended = vcm_apart(tmp_path, *RUN, "--out", earlier, hardship=RoomFor(20_000, deadly=True))
    assert ended.code == -signal.SIGXFSZ
    assert names(earlier) == [WORK, "notes.txt", "report.json"]
    assert json.loads((earlier / "report.json").read_text())["samples"] == []
    # A next run that fails puts back what there was, one that does not replaces it.
    room = RoomFor((earlier / WORK / "aside" / "sample-0.nii.gz").stat().st_size - 2000)
    told(vcm_apart(tmp_path, *RUN, "--out", earlier, hardship=room), "disk is full")
    assert state_of(earlier) == kept
    assert vcm_apart(tmp_path, *RUN, "--out", earlier, hardship=RoomFor(20_000, deadly=True)).code < 0
    assert vcm(*RUN, "--out", earlier).code == 0
    assert names(earlier) == ["montage.png", "notes.txt", "report.json", "sample-0.nii.gz"]


def wait_for(run, *paths):
    """Wait until files are there; that the run goes on meanwhile is part of the test."""
    end = time.monotonic() + 60
    while not all(path.exists() for path in paths) and time.monotonic() < end:
        assert run.alive
        time.sleep(0.005)


def test_a_killed_run_leaves_whole_files_and_the_next_one_goes_on_in_its_place(tmp_path):
    out = tmp_path / "out"
    run = Apart(tmp_path, *RUN, "--samples", 200, "--uncontrolled", "--out", out)
    wait_for(run, out / "sample-3.nii.gz")
    run.send(signal.SIGKILL)
    assert run.wait().code == -signal.SIGKILL
    report = json.loads((out / "report.json").read_text())
    assert len(report["samples"]) >= 3 and report["complete"] is False
    for path in out.glob("[!.]*.nii.gz"):
        assert np.isfinite(read_volume(path).array).all()
    assert set(report["files"]) <= set(names(out))
    assert vcm(*RUN, "--out", out).code == 0
    assert names(out) == ["montage.png", "report.json", "sample-0.nii.gz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_in_a_sentence_and_keeps_what_is_finished(tmp_path, number):
    out = tmp_path / "out"
    run = Apart(tmp_path, *RUN, "--samples", 200, "--out", out)
    wait_for(run, out / "sample-1.nii.gz")
    run.send(number)
    ended = run.wait()
    told(ended, "Cancelled", code=130)
    assert ended.err.count("vcm: ") == 1
    report = json.loads((out / "report.json").read_text())
    check_true(out, len(report["samples"]))
    assert len(report["samples"]) >= 1
