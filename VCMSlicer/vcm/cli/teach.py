"""`vcm teach`: one command from labelled cases to a pack that is steered by a new condition."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from vcm.cli.display.terminal import say, say_json
from vcm.cli.limits import use_threads

HELP = """Teach a model a new condition from labelled cases.

Examples:

  vcm teach cohort --name my-ventricles

  vcm teach cohort --name my-hippocampus --structure hippocampus=5 --minutes 60

CASES is the folder that vcm cohort make or from-folder wrote. Cases are checked, some heads are held out, the model
learns, is tried on the heads held out, and becomes a pack with a report. It may be stopped: the same command goes on.
"""


def teach(
    cases: Annotated[Path, typer.Argument(help="A cohort: the folder with cases.csv.", show_default=False)],
    name: Annotated[str, typer.Option(help="The new pack's name.")],
    condition: Annotated[
        list[str] | None,
        typer.Option(help="What cohorts offer: ventricles, brain, skull, semantics, lesions. May be repeated."),
    ] = None,
    structure: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUES, a new mask from the cases' labels. May be repeated.")
    ] = None,
    control_kind: Annotated[
        str, typer.Option(help="vcm, controlnet, mcm, t2i-adapter, …; docs/controls.md helps to choose.")
    ] = "vcm",
    backbone: Annotated[
        str | None, typer.Option(help="The model that is to be steered.", show_default="embedded")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Learn for so long; run again to go on.")] = math.inf,
    plan: Annotated[bool, typer.Option("--plan", help="Only check the cases and say how long it will take.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps at most.", show_default="by the cases")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Heads a step.", show_default="by the machine")] = None,
    out: Annotated[Path | None, typer.Option(help="The pack's folder.", show_default="the user's packs")] = None,
    work: Annotated[
        Path | None, typer.Option(help="Where the unfinished teaching lies.", show_default="CASES/teaching/NAME")
    ] = None,
    data: Annotated[str, typer.Option(help="Source and licence of the cases, for the pack's card.")] = "",
    licence: Annotated[
        str, typer.Option(help="Under which licence the pack may be used: Apache-2.0, …", show_default="not stated")
    ] = "",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Processor cores.", show_default="PyTorch's choice")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    force: Annotated[bool, typer.Option(help="Replace a pack of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """See HELP."""
    from vcm.cli.display.console import Console
    from vcm.packs.store import default_backbone
    from vcm.teach.conditions import parse_taught
    from vcm.teach.request import TeachListeners, TeachRequest
    from vcm.teach.teaching import teach as run_teaching
    from vcm.teach.teaching import teaching_as_dict
    from vcm.training.trainer.team import Team

    taught = parse_taught(condition or (), structure or ())
    use_threads(threads)
    model = backbone or default_backbone()
    request = TeachRequest(
        cases,
        name,
        taught,
        model,
        out,
        work,
        minutes,
        steps,
        batch,
        device,
        plan,
        force,
        data,
        licence,
        control_kind,
    )
    team = Team(device)
    with Console(quiet=not team.first) as console:
        listeners = console.listeners()
        outcome = run_teaching(
            request, team, TeachListeners(console.words, console.finding, listeners.progress or (lambda progress: None))
        )
    if not team.first:
        return
    if as_json:
        say_json(teaching_as_dict(outcome), indent=None)
        return
    say(
        {
            "planned": "Nothing was taught yet; leave out --plan to begin.",
            "paused": "The time is used up; run the same command to go on.",
            "finished": f"{outcome.pack} holds the pack {name}; how well it follows its condition: {outcome.report}",
        }[outcome.how]
    )


teach.__doc__ = HELP
