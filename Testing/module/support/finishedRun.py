"""A finished run as the worker leaves it: images, label maps and scores, all without symmetry."""

import json
from pathlib import Path

import numpy as np
from vcm.protocol import (
    AlignmentSummary,
    ClassScore,
    ConditionInput,
    Generate,
    Generated,
    GeneratedSample,
    GivenCondition,
    ImageScore,
    Label,
)
from VCMSlicerLib.scene.niftiFile import WorldImage, writeNifti

SHAPE = (20, 26, 16)
"""k, j, i"""

AFFINE = np.array([[-3.0, 0, 0, 31], [0, 3, 0, -52], [0, 0, 4, -41], [0, 0, 0, 1]])
LABELS = (Label(1, "white matter"), Label(4, "lateral ventricles"), Label(9, "third and fourth ventricle"))
ML = 0.036


def asked() -> np.ndarray:
    """Ventricles (1) and hippocampus (2), each a block."""
    array = np.zeros(SHAPE, np.uint8)
    array[4:12, 6:14, 3:9] = 1
    array[14:17, 3:7, 10:14] = 2
    return array


def measured() -> np.ndarray:
    """Lateral ventricles one voxel further in i, with a third ventricle on top; white matter beside them."""
    array = np.zeros(SHAPE, np.uint8)
    array[4:12, 6:14, 4:10] = 4
    array[12:14, 8:10, 5:7] = 9
    array[2:4, 2:22, 2:14] = 1
    return array


def ventriclesOverlap() -> dict[str, int]:
    """Voxels agreed, missed and extra, counted by hand: blocks of 8 × 8 × 6, one voxel apart, and 2 × 2 × 2 on top."""
    return {"agreed": 8 * 8 * 5, "missed": 8 * 8, "extra": 8 * 8 + 8}


def scores(dice: float) -> AlignmentSummary:
    classes = (
        ClassScore("anatomy", "ventricles", 384 * ML, 392 * ML, dice, 3.0, 0.9),
        ClassScore("anatomy", "hippocampus", 48 * ML, None, None, None, None, "not measurable with this segmenter"),
    )
    return AlignmentSummary("nobody", f"Dice {dice:.2f}", classes, (ImageScore("skull", 12.5, 0.0021, 0.03),))


def finishedRun(folder: Path, samples: int = 1) -> tuple[Generated, Generate]:
    """The worker's answer and the request it answers."""
    rng = np.random.default_rng(7)
    made = []
    for index in range(samples):
        paths = []
        for kind in ("sample", "uncontrolled"):
            image = WorldImage(rng.random(SHAPE).astype(np.float32), AFFINE)
            paths.append(str(writeNifti(folder / f"{kind}-{index}.nii.gz", image)))
        labels = str(writeNifti(folder / f"segmentation-{index}.nii.gz", WorldImage(measured(), AFFINE)))
        made.append(GeneratedSample(paths[0], 11 + index, scores(0.82), paths[1], scores(0.31), labels, LABELS))
    path = str(writeNifti(folder / "condition-0.nii.gz", WorldImage(asked(), AFFINE)))
    given = GivenCondition("anatomy", path, (Label(1, "ventricles", (4, 9)), Label(2, "hippocampus")))
    (folder / "report.json").write_text(json.dumps({"synthetic": True, "engine": "0.1.0"}), "utf-8")
    condition = ConditionInput("anatomy", str(folder / "secret" / "Jane-Doe.nii"))
    request = Generate("7", str(folder), (condition,), attributes={"age": 72.0}, seed=11, samples=samples)
    return Generated("7", str(folder), tuple(made), str(folder / "report.json"), conditions=(given,)), request
