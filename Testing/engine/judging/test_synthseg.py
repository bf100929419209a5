"""FreeSurfer's segmenter, played by small scripts."""

import os
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from vcm.anatomy.structures import SEGMENTED
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.synthseg import SynthSeg, from_freesurfer

GRID = Grid((10, 14, 9), [[0, 0, 2, -7], [-2, 0, 0, 20], [0, 2, 0, 3], [0, 0, 0, 1]])  # PSR

# Answers at 1 mm in RAS as FreeSurfer does: intensities above 0.7 become right ventricle, above 0.3 right hippocampus.
PLAYER = """#!{python}
import sys, numpy as np
from vcm.core.grid import Grid
from vcm.volumes.resampling import resample_labels
from vcm.core.volume import Volume
from vcm.volumes.volume_files import read_volume, write_volume
given = sys.argv[sys.argv.index("--i") + 1]
made = sys.argv[sys.argv.index("--o") + 1]
assert "--cpu" in sys.argv and int(sys.argv[sys.argv.index("--threads") + 1]) > 0
image = read_volume(given)
labels = Volume(np.select([image.array > 0.7, image.array > 0.3], [43, 53], 0).astype(np.int32), image.grid)
low = image.grid.to_world(np.array(np.meshgrid(*[(0, n - 1) for n in image.grid.shape])).reshape(3, -1).T).min(0) - 2
affine = np.eye(4); affine[:3, 3] = low + 0.5
write_volume(made, resample_labels(labels, Grid((40, 40, 40), affine)))
"""


def executable(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "mri_synthseg"
    script.write_text(text.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def image_of_two_structures():
    image = np.zeros(GRID.shape)
    image[2:5, 3:11, 1:4] = 0.9
    image[6:9, 2:7, 4:8] = 0.5
    return Volume(image, GRID)


def test_its_labels_come_back_renumbered_on_the_grid_of_the_image(tmp_path):
    found = SynthSeg(executable(tmp_path, PLAYER)).segment(image_of_two_structures())
    assert found.grid.same_as(GRID)
    assert found.array.dtype == np.uint8
    assert np.array_equal(
        found.array,
        np.select([image_of_two_structures().array > 0.7, image_of_two_structures().array > 0.3], [4, 5], 0),
    )


def test_every_freesurfer_number_of_the_brain_has_one_structure():
    numbers = [number for _, group in SEGMENTED.values() for number in group]
    assert len(numbers) == len(set(numbers))
    lateral = [2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 26, 28, *range(41, 45), 46, 47, *range(49, 55), 58, 60]
    assert sorted(numbers) == sorted([*lateral, 14, 15, 16, 24])
    assert from_freesurfer(np.array([[2, 42, 53, 24, 85]])).tolist() == [[1, 2, 5, 7, 0]]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("#!/bin/sh\necho warming up\necho 'no licence file' >&2\nexit 3\n", "failed with status 3: no licence file"),
        ("#!/bin/sh\nexit 0\n", "ended without writing a segmentation"),
        ("#!/nowhere/python\n", "could not be started"),
    ],
)
def test_its_failures_are_told_in_a_sentence(tmp_path, script, words):
    with pytest.raises(VcmError, match=words) as caught:
        SynthSeg(executable(tmp_path, script)).segment(image_of_two_structures())
    assert "mri_synthseg" in str(caught.value)


def test_one_that_hangs_is_stopped_with_its_children(tmp_path):
    note = tmp_path / "child"
    script = executable(tmp_path, f"#!/bin/sh\nsleep 300 &\necho $! > {note}\nwait\n")
    start = time.monotonic()
    with pytest.raises(VcmError, match="stopped after 1 seconds"):
        SynthSeg(script, timeout_s=1).segment(image_of_two_structures())
    assert time.monotonic() - start < 20
    child = int(note.read_text())
    for _ in range(100):
        if not _runs(child):
            break
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_is_found_under_freesurfer_home_and_gets_its_folder_on_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path))
    assert SynthSeg.find() is None
    script = executable(tmp_path / "bin", '#!/bin/sh\necho "$PATH" >&2\nexit 1\n')
    segmenter = SynthSeg.find()
    assert segmenter.executable == script
    with pytest.raises(VcmError, match=str(tmp_path / "bin") + os.pathsep):
        segmenter.segment(image_of_two_structures())
