"""`vcm doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcm.cli.display.terminal import say, say_json
from vcm.cli.inputs import parse_conditions

HELP = """Check conditions before anything is sampled, and show what the model would see.

Example:

  vcm doctor --condition ventricles=mask.nii.gz --out seen

Exits with 1 where an error would stop a run. With --out the volumes the model would get are written there, as
seen-ventricles.nii.gz and the like.
"""


def doctor(
    condition: Annotated[list[str], typer.Option(help="NAME=FILE or NAME=FILE:LABEL. May be repeated.")],
    pack: Annotated[str | None, typer.Option(help="The backbone.", show_default="embedded")] = None,
    control: Annotated[str | None, typer.Option(help="The control.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="NAME=FILE, a map of weights in 0–1.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write what the model sees into this folder.")] = None,
    force: Annotated[bool, typer.Option(help="Replace files of the same names in the folder of --out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> int:
    """See HELP."""
    from vcm.cli.display.console import Console
    from vcm.runs.choice import choose_packs
    from vcm.runs.run import examine_conditions, write_seen

    files = parse_conditions(condition, regions=region or ())
    examinations = examine_conditions(files, *choose_packs(pack, control, (file.name for file in files)))
    if out is not None:
        write_seen(out, examinations, files, prefix="seen-", force=force)
    usable = all(examination.condition is not None for examination in examinations)
    if as_json:
        say_json({"usable": usable, "conditions": [e.as_dict() for e in examinations]})
        return 0 if usable else 1
    console = Console()
    for examination in examinations:
        for finding in examination.findings:
            console.finding(finding)
        if examination.condition is not None:
            volumes = ", ".join(f"{name} {ml:.1f} ml" for name, ml in examination.as_dict()["millilitres"].items())
            say(f"{examination.name} is usable" + (f": {volumes}" if volumes else ""))
        else:
            say(f"{examination.name} cannot be used")
    return 0 if usable else 1


doctor.__doc__ = HELP
