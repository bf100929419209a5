"""How much synthetic heads look like those of a cohort, without a network that judges.

    python tools/appearance.py --cohort COHORT --sheet sheet.png out/sample-*.nii.gz

prints the power in bands of wavelengths against the cohort's and how alike left and right are within the brain. The
sheet has the synthetic heads on the left and as many of the cohort on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from vcm.cli.display.terminal import say
from vcm.cohort.files import read_cases
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.volume_files import read_volume

BANDS_MM = ((7.5, 9.0), (9.0, 12.0), (16.0, 24.0))
IN_MOST = 0.9
"""The brain is where so many of the cohort's heads have it, on either side."""


def common_brain(brains: Sequence[NDArray[np.bool_]], left_right: int) -> NDArray[np.bool_]:
    """Where most brains `[i, j, k]` lie on both sides."""
    usual = np.mean(brains, axis=0) >= IN_MOST
    return np.asarray(usual & np.flip(usual, left_right))


def likeness_of_sides(image: NDArray, brain: NDArray[np.bool_], left_right: int) -> float:
    """The correlation between the two halves of a symmetric brain."""
    half = np.moveaxis(brain.copy(), left_right, 0)
    half[len(half) // 2 :] = False
    here = np.moveaxis(half, 0, left_right)
    return float(np.corrcoef(image[here], np.flip(image, left_right)[here])[0, 1])


def table(made: Sequence[Volume], real: Sequence[Volume], brain: NDArray[np.bool_]) -> list[tuple[str, float, float]]:
    """Figure, cohort and synthetic heads, row by row."""
    grid = real[0].grid
    rows = []
    for band in BANDS_MM:
        powers = [np.mean([_power(head, band) for head in heads]) for heads in (real, made)]
        rows.append((f"power at {band[0]:g}–{band[1]:g} mm", 1.0, float(powers[1] / powers[0])))
    sides = [
        np.mean([likeness_of_sides(head.array, brain, grid.left_right) for head in heads]) for heads in (real, made)
    ]
    return [*rows, ("left–right correlation of the brain", float(sides[0]), float(sides[1]))]


def on_grid(paths: Sequence[Path], grid: Grid) -> list[Volume]:
    """The images, refused where one does not lie on the cohort's grid."""
    heads = [read_volume(path) for path in paths]
    for path, head in zip(paths, heads, strict=True):
        if not head.grid.same_as(grid):
            raise VcmError(
                Code.BAD_REQUEST, f"{path} does not lie on the cohort's grid.", "Choose a cohort of the model's."
            )
    return heads


def _power(head: Volume, band_mm: tuple[float, float]) -> float:
    import torch
    from vcm.training.backbone.spectral_power import band_power

    return band_power(torch.from_numpy(np.asarray(head.array, np.float32)), head.grid.spacing, band_mm)


def main(
    images: Annotated[list[Path], typer.Argument(help="Synthetic images, NIfTI.")],
    cohort: Annotated[Path, typer.Option(help="Heads to compare with, made by vcm cohort make.")],
    sheet: Annotated[Path | None, typer.Option(help="Lay all out in a picture.")] = None,
    columns: Annotated[int, typer.Option(min=1, help="Synthetic heads in a row of the sheet.")] = 2,
) -> None:
    """Compare synthetic heads with a cohort's."""
    from vcm.training.trainer.validation_sheet import row_of, save_sheet

    cases = read_cases(cohort)
    real = [case.read("image") for case in cases]
    grid = real[0].grid
    made = on_grid(images, grid)
    brain = common_brain([np.asarray(case.read("labels").array) != 0 for case in cases], grid.left_right)
    say(f"| {len(made)} synthetic heads, {len(real)} of the cohort | cohort | synthetic |")
    say("|---|---|---|")
    for name, theirs, ours in table(made, real, brain):
        say(f"| {name} | {theirs:.2f} | {ours:.2f} |")
    if sheet:
        nothing = np.zeros(grid.shape, np.float32)
        rows = []
        for start in range(0, min(len(made), len(real)), columns):
            sides = [[head.array for head in heads[start : start + columns]] for heads in (made, real)]
            rows.append(row_of([each for side in sides for each in _filled(side, columns, nothing)], grid))
        titles = ["synthetic"] + [""] * (columns - 1) + ["of the cohort"] + [""] * (columns - 1)
        save_sheet(sheet, rows, titles, most=len(rows))


def _filled(arrays: list[NDArray[Any]], count: int, nothing: NDArray[Any]) -> list[NDArray[Any]]:
    return [*arrays, *[nothing] * (count - len(arrays))]


def run() -> None:
    """The command; what is wrong with its input ends it with a sentence."""
    try:
        typer.run(main)
    except VcmError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    run()
