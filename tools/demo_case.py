"""Make the module's template, a typical head and its structures, and the demo's mask: the ventricles of that head,
painted larger on the left than on the right.

    python tools/demo_case.py VCMSlicer/Resources

No person's image or segmentation is in them: the head is formed from noise by the models that ship.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vcm.core.grid import Grid
from vcm.core.volume import Volume

LEFT_MM, RIGHT_MM, SEPTUM_MM = 6.0, 3.0, 2.5
LATERAL_VENTRICLES = 4
SEED = 2
SUBJECT: dict[str, float | str] = {"age": 60, "sex": "F", "ventricular_volume": 25, "brain_volume": 1150}
INSIDE_THE_BRAIN = (1, 2, 3, 4, 5, 9)


def typical_head(folder: Path) -> tuple[Volume, Volume]:
    """A head formed by the layout that ships and drawn by the control of all tissues: image and labels."""
    from vcm.runs.job import GenerateJob
    from vcm.runs.run import run_generate
    from vcm.volumes.volume_files import read_volume

    run_generate(
        GenerateJob(
            out=folder,
            pack="brainldm-mini",
            control="brainldm-mini-semantics",
            layout="brainldm-mini-layout",
            attributes=SUBJECT,
            seed=SEED,
            device="cpu",
        )
    )
    return read_volume(folder / "sample-0.nii.gz"), read_volume(folder / "layout-0.nii.gz")


def paint_larger(ventricles: NDArray[np.bool_], within: NDArray[np.bool_], grid: Grid) -> NDArray[np.bool_]:
    """The mask grown by `LEFT_MM` on the patient's left and `RIGHT_MM` on the right, the septum between left alone."""
    from scipy import ndimage

    def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        pieces, count = ndimage.label(mask)
        sizes = ndimage.sum_labels(mask, pieces, range(1, count + 1))
        return np.asarray(pieces == 1 + int(np.argmax(sizes)))

    spacing = grid.spacing
    core = largest(ventricles)
    outside = ndimage.distance_transform_edt(~core, sampling=spacing)
    inside = ndimage.distance_transform_edt(core, sampling=spacing)
    distance = ndimage.gaussian_filter(outside - inside, sigma=0.8)
    right = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))[..., 0]
    grown = (distance < np.where(right < 0, LEFT_MM, RIGHT_MM)) & within & (np.abs(right) > SEPTUM_MM)
    smooth = ndimage.gaussian_filter((grown | core).astype(np.float32), sigma=0.7) > 0.5
    return largest(ndimage.binary_fill_holes(smooth))


def main(resources: Path) -> None:
    """Put `Template/` and `DemoCase/` in place."""
    from vcm.volumes.volume_files import write_volume

    with tempfile.TemporaryDirectory() as folder:
        head, labels = typical_head(Path(folder) / "typical")
        within = np.isin(labels.array, INSIDE_THE_BRAIN)
        mask = paint_larger(np.asarray(labels.array == LATERAL_VENTRICLES), within, labels.grid)
        made = {
            "Template/head": (head.array.clip(0, 1) * 255).round(),
            "Template/labels": labels.array,
            "DemoCase/ventricles": mask,
        }
        for name, array in made.items():
            new = Path(folder) / name.replace("/", "-") / "new.nii.gz"
            new.parent.mkdir()
            words = "synthetic: " + ("ventricles, painted larger" if array is mask else "a typical head")
            write_volume(new, Volume(array.astype(np.uint8), head.grid), description=words)
            shutil.copyfile(new, resources / f"{name}.nii.gz")
    print(f"ventricles of {mask.sum() * labels.grid.voxel_ml:.1f} ml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
