"""Make the finished demo case that Sample Data offers: `python Testing/module/demo_result.py`.

What the module's demo case asks of the control by eight classes, at seed 1, with the usual steps; images are kept in 8
bits.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = ROOT / "VCMSlicer" / "Resources"
OUT = RESOURCES / "DemoResult"
VENTRICLES, AROUND = 4, 1
KEPT = ("condition-0.nii.gz", "segmentation-0.nii.gz", "report.json")
IMAGES = ("sample-0.nii.gz", "uncontrolled-0.nii.gz")


def main() -> None:
    """Generate it and put the files in place."""
    from vcm.runs.job import ConditionFile, GenerateJob
    from vcm.runs.run import run_generate

    with tempfile.TemporaryDirectory() as folder:
        asked, out = Path(folder) / "demo-case.nii.gz", Path(folder) / "out"
        sitk.WriteImage(demo_labels(), str(asked))
        run_generate(
            GenerateJob(
                out=out,
                conditions=(ConditionFile("semantics", asked),),
                pack="brainldm-mini",
                control="brainldm-mini-semantics",
                attributes={"age": 72, "sex": "F"},
                seed=1,
                uncontrolled=True,
                device="cpu",
            )
        )
        OUT.mkdir(exist_ok=True)
        for name in KEPT:
            shutil.copyfile(out / name, OUT / name)
        for name in IMAGES:
            sitk.WriteImage(in_bytes(sitk.ReadImage(str(out / name))), str(OUT / name), useCompression=True)


def demo_labels() -> sitk.Image:
    """The typical head's structures with the demo's ventricles in place of its own."""
    labels = sitk.ReadImage(str(RESOURCES / "Template" / "labels.nii.gz"))
    array = sitk.GetArrayFromImage(labels)
    array[array == VENTRICLES] = AROUND
    array[sitk.GetArrayFromImage(sitk.ReadImage(str(RESOURCES / "DemoCase" / "ventricles.nii.gz"))) > 0] = VENTRICLES
    made = sitk.GetImageFromArray(array)
    made.CopyInformation(labels)
    return made


def in_bytes(image: sitk.Image) -> sitk.Image:
    """Intensities of 0–1 as 0–255."""
    array = np.rint(np.clip(sitk.GetArrayFromImage(image), 0, 1) * 255).astype(np.uint8)
    made = sitk.GetImageFromArray(array)
    made.CopyInformation(image)
    made.SetMetaData("descrip", "synthetic T1w by VCMSlicer, research only")
    return made


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "VCMSlicer"))
    main()
