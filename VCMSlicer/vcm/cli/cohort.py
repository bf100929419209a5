"""`vcm cohort`: heads made from label maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make cohorts of synthetic heads to learn from.")


@app.callback()
def cohort() -> None:
    """Make cohorts of synthetic heads to learn from."""


@app.command(
    "make", epilog="Example: vcm cohort make --labelmaps labelmaps --heads 1-16 --count 320 --seed 1 --out cohort"
)
def make_command(
    labelmaps: Annotated[Path, typer.Option(help="The folder with labels.json and the label maps.")],
    out: Annotated[Path, typer.Option(help="The folder for the cases; what it holds already is kept.")],
    count: Annotated[int, typer.Option(min=1, help="How many cases.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same cases.")] = 1,
    heads: Annotated[str | None, typer.Option(help="Which heads, by place: 1-16 or 1,3,5.", show_default="all")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Make T1w-like heads from label maps: image, labels, skull image and attributes of each, and cases.csv."""
    from rich.progress import track

    from vcm.training.cohort import CohortMaker
    from vcm.training.cohort_files import make_cohort
    from vcm.training.label_maps import LabelMaps

    maker = CohortMaker(LabelMaps.open(labelmaps, parse_places(heads) if heads else None), seed, device)
    for _ in track(make_cohort(maker, count, out), description="making heads", total=count):
        pass
    typer.echo(f"{out / 'cases.csv'} lists {count} synthetic cases")


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
