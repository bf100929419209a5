"""A folder of small label maps at 1 mm, made on the spot: lopsided heads with labels.json."""

import json
from pathlib import Path

import numpy as np
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.volume_files import write_volume

SHAPE = (48, 64, 56)
GRID = Grid(SHAPE, [[-1, 0, 0, 21.5], [0, 1, 0, -40.0], [0, 0, 1, -17.0], [0, 0, 0, 1]])
CLASS_OF_LABEL = {0: 0, 24: 1, 4: 1, 43: 1, 2: 2, 41: 2, 3: 3, 42: 3, 502: 4}
MEANS = [7.0, 40.0, 160.0, 95.0, 120.0]


def head(side=1.0):
    """Scalp, CSF, grey and white matter as shells about an off-centre point; a large left, a small right ventricle."""
    i, j, k = np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij")
    radius = np.sqrt(((i - 22) / 20) ** 2 + ((j - 33) / 28) ** 2 + ((k - 25) / 23) ** 2)
    labels = np.zeros(SHAPE, np.int16)
    for limit, label in ((1.0, 502), (0.85, 24), (0.78, 3), (0.62, 2)):
        labels[radius < limit] = label
    labels[np.sqrt((i - 28) ** 2 + ((j - 34) / 1.7) ** 2 + (k - 27) ** 2) < 6 * side] = 4
    labels[np.sqrt((i - 17) ** 2 + ((j - 30) / 1.3) ** 2 + (k - 24) ** 2) < 4] = 43
    return labels


def description(classes=None):
    known = classes or CLASS_OF_LABEL
    return {
        "labels": [{"label": n, "name": f"label {n}", "contrast_class": c} for n, c in known.items()],
        "t1_prior": {
            "mean_of_class_mean": MEANS,
            "sd_of_class_mean": [1.0, 5.0, 8.0, 6.0, 9.0],
            "mean_of_class_sd": [5.0, 10.0, 12.0, 11.0, 30.0],
        },
    }


def write_folder(folder: Path, sides=(1.0, 1.15)) -> Path:
    """`folder` with labels.json and one head for each size of the left ventricle."""
    (folder / "labelmaps").mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps(description()))
    for number, side in enumerate(sides, 1):
        write_volume(folder / "labelmaps" / f"head_{number:02d}.nii.gz", Volume(head(side), GRID))
    return folder
