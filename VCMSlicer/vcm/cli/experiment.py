"""`vcm experiment`: the kinds of control beside each other, and beside the paper."""

from __future__ import annotations

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
