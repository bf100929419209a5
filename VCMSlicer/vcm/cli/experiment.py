"""`vcm experiment`: the kinds of control beside each other, and beside the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcm.cli.display.terminal import say, say_json

app = typer.Typer(no_args_is_help=True, help="Compare the kinds of control with each other and with the paper.")


@app.callback()
def experiment() -> None:
    """Compare the kinds of control with each other and with the paper."""


@app.command("counts", epilog="Example: vcm experiment counts")
def counts_command(as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False) -> None:
    """Count the parameters of Tables 1 and 2 of the paper, at its sizes, on the networks that train here."""
    from vcm.experiments.counts import count_all, counts_in_words

    counts = count_all()
    if as_json:
        say_json([count.as_dict() for count in counts])
        return
    for line in counts_in_words(counts):
        say(line)


@app.command(
    "controls",
    epilog="Example: vcm experiment controls cohort --held-out unseen --backbone micro --minutes 5 --out look",
)
def controls_command(
    cases: Annotated[Path, typer.Argument(help="A cohort: the folder with cases.csv.", show_default=False)],
    held_out: Annotated[Path, typer.Option(help="A cohort of other heads, to try the controls on.")],
    out: Annotated[Path, typer.Option(help="The comparison's folder. One that was begun in it is continued.")],
    condition: Annotated[list[str] | None, typer.Option(help="What they learn. May be repeated.")] = None,
    kinds: Annotated[
        str | None, typer.Option(help="Kinds of control, separated by commas.", show_default="all")
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="The backbone's pack.", show_default="embedded")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Minutes of training for each kind.")] = 5.0,
    first_cases: Annotated[int, typer.Option(min=4, help="Learn from the first so many cases.")] = 50,
    held_out_cases: Annotated[int, typer.Option(min=1, help="Try them on so many others.")] = 8,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor cores to use.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train each kind of control on the same cases for the same minutes, and compare what they make of others.

    A first look: how soon a kind follows on this machine, not which is best in the end.
    """
    from vcm.cli.limits import use_threads
    from vcm.experiments.first_look import LookRequest, table_of, take_look
    from vcm.models.loading import CONTROLS
    from vcm.packs.store import default_backbone
    from vcm.training.trainer.team import Team

    use_threads(threads)
    chosen = tuple(kinds.split(",")) if kinds else tuple(CONTROLS)
    request = LookRequest(
        cases, held_out, out, chosen, backbone or default_backbone(), tuple(condition or ("ventricles",)), minutes,
        first_cases, held_out_cases, device,
    )  # fmt: skip
    for line in table_of(take_look(request, Team(device), say), request).splitlines():
        say(line)
