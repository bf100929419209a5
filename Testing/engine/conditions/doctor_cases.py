"""What the tests of the input doctor share: a small model's conditions, inputs for them, and how findings are read."""

from pathlib import Path

import numpy as np
from phantoms import grid_in, head_labels
from vcm.conditions.condition import ConditionSpec
from vcm.core.findings import Level
from vcm.core.volume import Volume
from vcm.volumes.volume_files import VolumeFile

MODEL = grid_in("LAS", (37, 53, 41), (2, 1.5, 1.75))
MASK = ConditionSpec.from_dict(
    {
        "name": "ventricles",
        "kind": "mask",
        "classes": [{"name": "ventricles", "segmenter": [4, 43], "typical_ml": [2, 8], "centroid_mm": [4, -9, 6]}],
    }
)
LABELS = ConditionSpec.from_dict(
    {
        "name": "tissue",
        "kind": "labels",
        "classes": [
            {"name": "white matter", "value": 1, "segmenter": [2, 41]},
            {"name": "grey matter", "value": 2, "segmenter": [3, 42]},
            {"name": "ventricles", "value": 3, "segmenter": [4, 43], "typical_ml": [0.1, 0.4]},
        ],
    }
)
IMAGE = ConditionSpec.from_dict({"name": "skull", "kind": "image"})


def ball(grid, value=1, structure=1, dtype=np.uint8):
    return Volume(np.where(head_labels(grid).array == structure, value, 0).astype(dtype), grid)


def file_of(volume, names=None, **flags):
    return VolumeFile(volume, Path("given.seg.nrrd"), segment_names=names or {}, **flags)


def finding(examination, code):
    found = [f for f in examination.findings if f.code == code]
    assert len(found) == 1, [f.code for f in examination.findings]
    assert found[0].sentence.endswith(".")
    assert found[0].remedy.endswith(".") or ":" in found[0].remedy
    return found[0]


def refused(examination, code):
    """The error of this code, which must have left no condition."""
    assert examination.condition is None
    error = finding(examination, code)
    assert error.level is Level.ERROR
    return error


def codes(examination):
    return {f.code for f in examination.findings}
