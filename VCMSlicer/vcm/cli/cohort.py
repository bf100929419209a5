"""`vcm cohort`: heads made from label maps, and scans brought in from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vcm.cli.display.terminal import SafeConsole, say

if TYPE_CHECKING:
    from vcm.cohort.making.heads import CohortMaker
    from vcm.core.grid import Grid

app = typer.Typer(no_args_is_help=True, help="Make cohorts to learn from.")

LabelMapFolder = Annotated[Path, typer.Option("--labelmaps", help="The folder with labels.json and the label maps.")]
Heads = Annotated[str | None, typer.Option(help="Which heads, by place: 1-16 or 1,3,5.", show_default="all")]
Contrasts = Annotated[str, typer.Option(help="t1, and of the same heads t2 and flair, separated by commas.")]
GridName = Annotated[
    str,
    typer.Option(
        "--grid",
        help="Where the heads lie: whole-head (88 × 112 × 88 voxels of 2 mm), labelmaps (all that the label maps "
        "cover), or a backbone pack, whose own grid and attributes are taken.",
    ),
]
LesionShare = Annotated[float, typer.Option("--lesions", min=0, max=1, help="The share of heads given lesions.")]
NAMED_GRIDS = ("whole-head", "labelmaps")
Jobs = Annotated[int, typer.Option(min=1, help="How many processes; each computes on one core.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


@app.callback()
def cohort() -> None:
    """Make cohorts to learn from."""


@app.command(
    "make",
    epilog="Example: vcm cohort make --labelmaps labelmaps --heads 1-16 --count 320 --seed 1 --grid brainldm-mini "
    "--out cohort",
)
def make_command(
    labelmaps: LabelMapFolder,
    out: Annotated[Path, typer.Option(help="The folder for the cases; what it holds already is kept.")],
    count: Annotated[int, typer.Option(min=1, help="How many cases.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same cases.")] = 1,
    heads: Heads = None,
    contrasts: Contrasts = "t1",
    grid: GridName = "whole-head",
    lesions: LesionShare = 0.5,
    jobs: Jobs = 1,
    device: Device = "cpu",
) -> None:
    """Make heads from label maps: image, labels, skull image and attributes of each, and cases.csv."""
    from rich.progress import track

    from vcm.cohort.making.making import make_cohort

    maker = cohort_maker(labelmaps, seed, heads, contrasts, grid, lesions, device)
    bar = SafeConsole(stderr=True)
    for _ in track(make_cohort(maker, count, out, jobs), description="making heads", total=count, console=bar):
        pass
    say(f"{out / 'cases.csv'} lists {count} synthetic cases")


FROM_FOLDER_HELP = """Bring real scans with their segmentations onto a backbone's Grid, as a cohort.

Examples:

  vcm cohort from-folder scans --segmentations segmentations --out cohort

  vcm cohort from-folder table.csv --labels segmenter --out cohort

Scans and segmentations are paired by name, or by a table with the columns image, segmentation, sex and age. Each is
registered to the backbone's mean head, scaled to 0-1 and checked. What cannot be used stands in refused.csv with the
reason, and the exit code is then 1. Run again to go on: what was brought in from the same files is kept.
"""


@app.command("from-folder")
def from_folder_command(
    images: Annotated[Path, typer.Argument(help="The folder of the scans, or a table (.csv).", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for the cases; what it holds already is kept.")],
    segmentations: Annotated[Path | None, typer.Option(help="The folder of their segmentations.")] = None,
    pack: Annotated[str | None, typer.Option(help="The backbone.", show_default="embedded")] = None,
    registration: Annotated[str, typer.Option(help="rigid, affine, or none where the scans lie right.")] = "rigid",
    labels: Annotated[
        str, typer.Option(help="How they are numbered: freesurfer, segmenter, or a table with label, class and side.")
    ] = "freesurfer",
    template: Annotated[Path | None, typer.Option(help="A head to register to, instead of the mean head.")] = None,
    jobs: Jobs = 1,
) -> int:
    """See FROM_FOLDER_HELP."""
    from rich.progress import track

    from vcm.cli.display.console import Console
    from vcm.cohort.scans.folder import REFUSED, summary, take_in_folder
    from vcm.cohort.scans.intake import prepare_intake
    from vcm.cohort.scans.pairs import find_scans
    from vcm.cohort.scans.registration import KINDS
    from vcm.cohort.scans.sheet import write_sheets
    from vcm.core.findings import Finding, Level
    from vcm.packs.store import default_backbone, find_pack

    if registration not in KINDS:
        raise typer.BadParameter(f"{registration!r} is none of {', '.join(KINDS)}", param_hint="--registration")
    scans = find_scans(images, segmentations)
    intake = prepare_intake(find_pack(pack or default_backbone()), registration, labels, template)
    total = len(scans.pairs) + len(scans.refusals)
    bar = SafeConsole(stderr=True)
    taken = take_in_folder(scans, intake, out, jobs)
    arrivals = list(track(taken, description="bringing in scans", total=total, console=bar))
    console = Console()
    for arrival in sorted(arrivals, key=lambda one: one.name):
        if arrival.refusal is not None:
            one = arrival.refusal
            console.finding(Finding(Level.ERROR, one.code, one.name, one.sentence, one.remedy))
    for line in summary(arrivals):
        say(line)
    whole = [arrival for arrival in arrivals if arrival.entry is not None]
    overlaps = {arrival.name: arrival.overlap for arrival in whole if arrival.overlap is not None}
    sheets = write_sheets([arrival.entry for arrival in whole if arrival.entry is not None], overlaps, out)
    if sheets:
        say(f"{out / sheets[0].name} shows them with their contours, the worst first; look at it")
    refused = any(arrival.refusal for arrival in arrivals)
    if refused:
        say(f"{out / REFUSED} says why")
    return 1 if refused else 0


from_folder_command.__doc__ = FROM_FOLDER_HELP


@app.command("check", epilog="Example: vcm cohort check cohort")
def check_command(
    cohort: Annotated[Path, typer.Argument(help="The folder of a cohort.", show_default=False)],
    jobs: Jobs = 1,
) -> int:
    """Measure on a cohort's labels whether ventricles are whole and attributes mean what they say.

    The exit code is 1 where a head has more than a twentieth of tissue within its closed lateral ventricles.
    """
    from rich.progress import track

    from vcm.cohort.check import hollow_heads, measure_head, summary
    from vcm.cohort.files import read_cases
    from vcm.core.processes import in_processes
    from vcm.machine.local_device import compute_on_one_core

    entries = read_cases(cohort)
    bar = SafeConsole(stderr=True)
    found = track(
        in_processes(measure_head, entries, jobs, compute_on_one_core),
        description="measuring",
        total=len(entries),
        console=bar,
    )
    heads = sorted(found, key=lambda head: head.name)
    for line in summary(entries, heads):
        say(line)
    return 1 if hollow_heads(heads) else 0


def cohort_maker(
    labelmaps: Path, seed: int, heads: str | None, contrasts: str, grid: str, lesions: float, device: str
) -> CohortMaker:
    """What makes heads, as the command line describes it."""
    from vcm.cohort.making.heads import OWN_ATTRIBUTES, CohortMaker
    from vcm.cohort.making.label_maps import LabelMaps
    from vcm.machine.runtime import choose_device
    from vcm.packs.store import find_pack

    maps = LabelMaps.open(labelmaps, parse_places(heads) if heads else None)
    return CohortMaker(
        maps,
        seed,
        choose_device(device),
        contrasts=contrasts.split(","),
        grid=_grid(grid),
        lesions=lesions,
        attributes=OWN_ATTRIBUTES if grid in NAMED_GRIDS else find_pack(grid).backbone.attributes,
    )


def _grid(name: str) -> Grid | None:
    """The grid of this name; None for the label maps' own."""
    from vcm.cohort.making.heads import WHOLE_HEAD
    from vcm.packs.store import find_pack

    if name == "labelmaps":
        return None
    return WHOLE_HEAD if name == "whole-head" else find_pack(name).backbone.grid


def parse_places(text: str) -> list[int]:
    """Places in a list, from 1.

    >>> parse_places("1-3,7")
    [1, 2, 3, 7]
    """
    places: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            places.extend(range(int(first), int(last if dash else first) + 1))
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is no list of places such as 1-16 or 1,3,5", param_hint="--heads"
            ) from None
    return places
