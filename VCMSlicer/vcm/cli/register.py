"""`vcm register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = """Lay a scan of a head, however it lies, on the model's heads: rigidly, so that it can be a condition.

Example:

  vcm register scan.nii.gz --out registered

The folder gets scan-to-model.tfm (and .h5) for 3D Slicer and ITK, the scan with its voxels as they are and its place in
the model's space (scan-in-model-space.nii.gz), a picture to look at (overlay.png) and registration.json. Exits with 1
where no head was found, and then there is no transform. A doubtful registration is written with a warning.

The transform moves the scan into the model's space when it is applied in Slicer, and SimpleITK.Resample(scan, model,
transform) draws the scan on the model's grid; its inverse brings results back.
"""


def register(
    scan: Annotated[Path, typer.Argument(help="A scan of a head, NIfTI, MGH or NRRD.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for the results.")],
    pack: Annotated[str | None, typer.Option(help="The backbone.", show_default="embedded")] = None,
    template: Annotated[
        Path | None, typer.Option(help="A head in the model's space, instead of its mean head.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace files of these names that others wrote or changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> int:
    """See HELP."""
    from vcm.cli.display.console import Console
    from vcm.cli.display.terminal import say, say_json
    from vcm.registration.scan import Verdict
    from vcm.runs.job import RegisterJob
    from vcm.runs.registering import OVERLAY, run_register

    with Console(quiet=as_json) as console:
        listeners = console.listeners()
        result = run_register(RegisterJob(scan, out, pack, template, force), listeners.progress, listeners.finding)
    if as_json:
        say_json(result.report)
    else:
        say(result.found.words)
        say(f"Look at {result.folder / OVERLAY}")
    return 1 if result.found.verdict is Verdict.FAILED else 0


register.__doc__ = HELP
