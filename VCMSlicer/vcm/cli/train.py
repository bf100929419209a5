"""`vcm train`: teach a backbone to obey."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from vcm.training.control_config import ControlTraining

app = typer.Typer(no_args_is_help=True, help="Train controls for a backbone.")

SAVE_EVERY = 100


@app.callback()
def train() -> None:
    """Train controls for a backbone."""


@app.command(
    "control",
    epilog="Example: vcm train control --conditions ventricles --cases cohort --held-out unseen --minutes 60 --out run",
)
def control_command(
    cases: Annotated[Path, typer.Option(help="A cohort: the folder with cases.csv.")],
    out: Annotated[Path, typer.Option(help="The run's folder. A training that was begun in it is continued.")],
    config: Annotated[Path | None, typer.Option(help="Settings in TOML; the options below go before them.")] = None,
    backbone: Annotated[str | None, typer.Option(help="The backbone's pack.")] = None,
    conditions: Annotated[str | None, typer.Option(help="Names, separated by commas.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the whole training.")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so long; run again to go on.")] = math.inf,
    held_out: Annotated[Path | None, typer.Option(help="A cohort of other heads, to measure obedience on.")] = None,
    held_out_cases: Annotated[int, typer.Option(min=1, help="How many of them.")] = 4,
    measure_every: Annotated[int, typer.Option(min=1, help="Minutes between two measurements.")] = 15,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores to use.")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train a control on a cohort, with the backbone frozen."""
    import torch

    from vcm.training.control_run import ControlRun

    torch.set_num_threads(threads)
    chosen = {"backbone": backbone, "conditions": tuple(conditions.split(",")) if conditions else None, "steps": steps}
    settings = _settings(out, config, {name: value for name, value in chosen.items() if value is not None})
    run = ControlRun(settings, cases, out, device, say=typer.echo)
    held = run.examiner(held_out, held_out_cases) if held_out else None
    finished = run.train(minutes, held, measure_every)
    typer.echo("The training is complete." if finished else "The time is used up; run the same command to go on.")


@app.command(
    "export",
    epilog="Example: vcm train export --run run --cases cohort --held-out unseen --out packs/brainldm-mini-ventricles",
)
def export_command(
    run: Annotated[Path, typer.Option(help="The folder of a training.")],
    cases: Annotated[Path, typer.Option(help="The cohort it was trained on.")],
    held_out: Annotated[Path, typer.Option(help="A cohort of other heads, for the card's figures.")],
    out: Annotated[Path, typer.Option(help="The pack's folder; its name becomes the pack's.")],
    held_out_cases: Annotated[int, typer.Option(min=2, help="How many held-out cases.")] = 20,
    hardware: Annotated[str, typer.Option(help="What it was trained on, in words, for the card.")] = "a CPU",
    command: Annotated[str, typer.Option(help="The command it was trained with, for the card.")] = "vcm train control",
    data: Annotated[str, typer.Option(help="Source and licence of the label maps, for the card.")] = "",
    montage: Annotated[Path | None, typer.Option(help="A picture of the held-out samples.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Processor cores to use.")] = 2,
) -> None:
    """Measure a trained control on unseen heads and write it as a pack."""
    import torch

    from vcm.training.control import SETTINGS
    from vcm.training.control_config import ControlTraining
    from vcm.training.control_run import ControlRun

    torch.set_num_threads(threads)
    finished = ControlRun(ControlTraining.read(run / SETTINGS), cases, run, "cpu", say=typer.echo)
    finished.export(out, finished.examiner(held_out, held_out_cases), hardware, command, data, montage)
    typer.echo(f"{out} holds the pack {out.name}")


def _settings(run: Path, config: Path | None, chosen: dict[str, Any]) -> ControlTraining:
    """Options go before a file of settings, that before those of a training that was begun."""
    from vcm.training.control import SETTINGS
    from vcm.training.control_config import ControlTraining

    kept = run / SETTINGS
    if config is not None:
        settings = ControlTraining.read(config)
    elif kept.is_file():
        settings = ControlTraining.read(kept)
    else:
        settings = ControlTraining()
    return replace(settings, **chosen)
