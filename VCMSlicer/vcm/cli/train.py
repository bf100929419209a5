"""`vcm train`: teach networks, and write what they learned as packs."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from vcm.cli.display.terminal import SafeConsole, say
from vcm.cli.limits import use_threads
from vcm.core.plain_text import plain

if TYPE_CHECKING:
    from vcm.training.trainer.settings import TrainingSettings
    from vcm.training.trainer.trainer import Trainer

app = typer.Typer(no_args_is_help=True, help="Train controls, denoisers, autoencoders, segmenters and layouts.")

Settings = TypeVar("Settings", bound="TrainingSettings")

Cases = Annotated[Path, typer.Option(help="A cohort: the folder with cases.csv.")]
Run = Annotated[Path, typer.Option("--out", help="The run's folder. A training that was begun in it is continued.")]
Config = Annotated[Path | None, typer.Option(help="Settings in TOML; the options below go before them.")]
Backbone = Annotated[str | None, typer.Option(help="The backbone's pack.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps of the whole training.")]
Minutes = Annotated[float, typer.Option(min=0, help="Stop after so long; run again to go on.")]
HeldOut = Annotated[Path | None, typer.Option(help="A cohort of other heads, to validate on.")]
HeldOutCases = Annotated[int, typer.Option(min=1, help="How many of them.")]
FirstCases = Annotated[int | None, typer.Option(min=1, help="Learn from the first so many cases.", show_default="all")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor cores to use.", show_default="PyTorch's choice")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Start = Annotated[Path | None, typer.Option(help="Begin with what the training in this folder has learned.")]


@app.callback()
def train() -> None:
    """Train controls, denoisers, autoencoders, segmenters and layouts."""


@app.command(
    "control",
    epilog="Example: vcm train control --conditions ventricles --cases cohort --held-out unseen --minutes 60 --out run",
)
def control_command(
    cases: Cases,
    out: Run,
    config: Config = None,
    backbone: Backbone = None,
    conditions: Annotated[str | None, typer.Option(help="Names, separated by commas.")] = None,
    control_kind: Annotated[
        str | None, typer.Option(help="vcm, controlnet, mcm, t2i-adapter, …; docs/controls.md lists them.")
    ] = None,
    steps: Steps = None,
    minutes: Minutes = math.inf,
    held_out: HeldOut = None,
    held_out_cases: HeldOutCases = 4,
    first_cases: FirstCases = None,
    start: Start = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it needs and how long it takes.")] = False,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train a control on a cohort, with the backbone frozen."""
    from vcm.cohort.learning_cases import cohort_cases
    from vcm.training.control.run import open_control_run
    from vcm.training.control.settings import ControlSettings

    chosen = {
        "backbone": backbone, "steps": steps, "architecture": control_kind,
        "conditions": tuple(conditions.split(",")) if conditions else None,
    }  # fmt: skip
    settings = _settings(ControlSettings, out, config, chosen)
    grid, contrasts = _grid(settings.backbone), _contrasts(settings)
    learned = cohort_cases(cases, grid, first_cases, contrasts)
    unseen = cohort_cases(held_out, grid, held_out_cases, contrasts) if held_out else []
    use_threads(threads)
    if plan:
        from vcm.training.plan import plan_control

        for line in plan_control(settings, len(learned), cases, device):
            say(line)
        return
    with _Console(device) as console, console.claimed(out):
        run = open_control_run(
            settings, learned, out,
            latents=cases / "latents", team=console.team, unseen=unseen, start=start, listeners=console.listeners(),
        )  # fmt: skip
        console.train(run.trainer, minutes)


@app.command("denoiser", epilog="Example: vcm train denoiser --cases cohort --held-out unseen --minutes 60 --out run")
def denoiser_command(
    cases: Cases,
    out: Run,
    config: Config = None,
    backbone: Backbone = None,
    steps: Steps = None,
    minutes: Minutes = math.inf,
    held_out: HeldOut = None,
    held_out_cases: HeldOutCases = 8,
    first_cases: FirstCases = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train the denoiser of a backbone on a cohort: go on with the pack's, or begin anew (scratch = true)."""
    from vcm.cohort.learning_cases import cohort_cases
    from vcm.training.backbone.denoiser_run import open_denoiser_run
    from vcm.training.backbone.denoiser_settings import DenoiserSettings

    settings = _settings(DenoiserSettings, out, config, {"backbone": backbone, "steps": steps})
    grid, contrasts = _grid(settings.backbone), _contrasts(settings)
    unseen = cohort_cases(held_out, grid, held_out_cases, contrasts) if held_out else []
    use_threads(threads)
    with _Console(device) as console, console.claimed(out):
        run = open_denoiser_run(
            settings, cohort_cases(cases, grid, first_cases, contrasts), out,
            latents=cases / "latents", team=console.team, unseen=unseen,
            unseen_latents=held_out / "latents" if held_out else None, listeners=console.listeners(),
        )  # fmt: skip
        console.train(run.trainer, minutes)


@app.command("autoencoder", epilog="Example: vcm train autoencoder --cases cohort --held-out unseen --out run")
def autoencoder_command(
    cases: Cases,
    out: Run,
    config: Config = None,
    backbone: Backbone = None,
    steps: Steps = None,
    minutes: Minutes = math.inf,
    held_out: HeldOut = None,
    held_out_cases: HeldOutCases = 4,
    first_cases: FirstCases = None,
    start: Start = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train an autoencoder for a new backbone on a cohort's images."""
    from functools import partial

    from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
    from vcm.training.backbone.image_runs import open_autoencoder_run

    settings = _settings(AutoencoderSettings, out, config, {"backbone": backbone, "steps": steps})
    _train_on_images(
        partial(open_autoencoder_run, start=start),
        settings,
        cases,
        out,
        minutes,
        held_out,
        held_out_cases,
        first_cases,
        threads,
        device,
    )


@app.command("segmenter", epilog="Example: vcm train segmenter --cases cohort --held-out unseen --out run")
def segmenter_command(
    cases: Cases,
    out: Run,
    config: Config = None,
    backbone: Backbone = None,
    steps: Steps = None,
    minutes: Minutes = math.inf,
    held_out: HeldOut = None,
    held_out_cases: HeldOutCases = 4,
    first_cases: FirstCases = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train the segmenter that judges a backbone's samples."""
    from vcm.training.backbone.image_runs import open_segmenter_run
    from vcm.training.backbone.segmenter_settings import SegmenterSettings

    settings = _settings(SegmenterSettings, out, config, {"backbone": backbone, "steps": steps})
    _train_on_images(
        open_segmenter_run, settings, cases, out, minutes, held_out, held_out_cases, first_cases, threads, device
    )


@app.command("layout", epilog="Example: vcm train layout --cases cohort --held-out unseen --out run")
def layout_command(
    cases: Cases,
    out: Run,
    config: Config = None,
    backbone: Backbone = None,
    steps: Steps = None,
    minutes: Minutes = math.inf,
    held_out: HeldOut = None,
    held_out_cases: HeldOutCases = 4,
    first_cases: FirstCases = None,
    threads: Threads = None,
    device: Device = "auto",
) -> None:
    """Train a layout on a cohort's label maps: a generator that completes what is drawn to a whole head."""
    from vcm.cohort.files import read_cases
    from vcm.training.layout.run import train_layout
    from vcm.training.layout.settings import LayoutSettings

    settings = _settings(LayoutSettings, out, config, {"backbone": backbone, "steps": steps})
    learned = read_cases(cases)[:first_cases]
    unseen = read_cases(held_out)[:held_out_cases] if held_out else []
    use_threads(threads)
    with _Console(device) as console, console.claimed(out):
        console.ended(
            train_layout(
                settings, learned, out,
                team=console.team, unseen=unseen, minutes=minutes, listeners=console.listeners(),
            )
        )  # fmt: skip


@app.command("spread", epilog="Example: vcm train spread --run run --pack packs/my-semantics --cases cohort")
def spread_command(
    run: Annotated[Path, typer.Option(help="The folder of a denoiser's or a control's training.")],
    pack: Annotated[str, typer.Option(help="The pack that was exported from it.")],
    cases: Cases,
    backbone: Backbone = None,
    count: Annotated[int, typer.Option(min=1, help="The first so many cases.")] = 16,
    device: Device = "auto",
) -> None:
    """Measure where samples are more alike than real heads are; the next export of the run has them make up for it."""
    from vcm.cohort.files import read_cases
    from vcm.packs.store import find_pack
    from vcm.training.spread import measure_spread_of

    found, own = find_pack(pack), find_pack(backbone) if backbone else None
    entries = read_cases(cases)[:count]
    with _Console(device) as console:
        factor = measure_spread_of(run, found, entries, backbone=own, device=device, on_case=console.listeners().step)
    say(f"Samples fall short by a factor of {factor.median():.2f} (median; {factor.min():.2f} to {factor.max():.2f}).")


@app.command(
    "export", epilog="Example: vcm train export --run run --figures evaluation/summary.md --out packs/my-ventricles"
)
def export_command(
    run: Annotated[Path, typer.Option(help="The folder of a training.")],
    out: Annotated[Path, typer.Option(help="The pack's folder; its name becomes the pack's.")],
    figures: Annotated[Path | None, typer.Option(help="The summary that vcm evaluate wrote, for the card.")] = None,
    hardware: Annotated[str, typer.Option(help="What it was trained on, in words, for the card.")] = "a CPU",
    command: Annotated[str, typer.Option(help="The command it was trained with, for the card.")] = "",
    data: Annotated[str, typer.Option(help="Source and licence of the data, for the card.")] = "",
    licence: Annotated[
        str, typer.Option(help="Under which licence the pack may be used: Apache-2.0, …", show_default="not stated")
    ] = "",
    version: Annotated[str, typer.Option(help="The pack's version.", show_default="a backbone's stays")] = "",
    bits: Annotated[int, typer.Option(help="Bits a weight is stored in: 16, or 8 for half of the size.")] = 16,
    force: Annotated[bool, typer.Option(help="Replace files of the pack that were changed by hand.")] = False,
) -> None:
    """Write what a training has learned as a pack, with its settings and a card."""
    from vcm.training.export.export import export_run
    from vcm.training.export.model_card import ExportNotes, without_paths

    notes = ExportNotes(
        hardware=hardware, command=without_paths(command), data=data, licence=licence, version=version, figures=figures
    )
    shrunk = export_run(run, out, notes, bits=bits, force=force)
    say(f"{out} holds the pack {out.name}")
    if shrunk:
        say(shrunk.words)


class _Console:
    """What a training shows on the terminal, from the first of its processes: words, and a bar with the time left."""

    def __init__(self, device: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from vcm.training.trainer.team import Team

        self.team = Team(device)
        console = SafeConsole(quiet=not self.team.first, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("preparing", total=None)

    def __enter__(self) -> _Console:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def claimed(self, run: Path) -> AbstractContextManager[object]:
        """Keep other processes out of the run's folder."""
        from vcm.training.trainer.checkpoint import claim_run

        return claim_run(run) if self.team.first else nullcontext()

    def listeners(self) -> Any:
        from vcm.training.trainer.trainer import Listeners

        return Listeners(say=self._say, row=self._row, step=self._step)

    def train(self, trainer: Trainer, minutes: float) -> None:
        """Teach, and say how it ended."""
        self.ended(trainer.train(minutes))

    def ended(self, how: str) -> None:
        """Say how a training ended."""
        endings = {
            "finished": "The training is complete.",
            "stopped early": "Validation no longer improved: the training stopped early and is complete.",
            "paused": "The time is used up; run the same command to go on.",
        }
        self._say(endings[how])

    def _say(self, words: str) -> None:
        self._bar.console.print(plain(words))

    def _row(self, progress: Any) -> None:
        figures = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in progress.figures.items())
        self._say(f"step {progress.step} of {progress.steps}, {progress.seconds / 60:.1f} min: {figures}")

    def _step(self, step: int, steps: int) -> None:
        self._bar.update(self._task, description="training", completed=step, total=steps)


def _train_on_images(
    opening: Callable[..., Any],
    settings: TrainingSettings,
    cases: Path,
    out: Path,
    minutes: float,
    held_out: Path | None,
    held_out_cases: int,
    first_cases: int | None,
    threads: int | None,
    device: str,
) -> None:
    from vcm.cohort.contrasts import in_contrasts
    from vcm.cohort.files import read_cases

    use_threads(threads)
    with _Console(device) as console, console.claimed(out):
        contrasts = _contrasts(settings)
        unseen = in_contrasts(read_cases(held_out)[:held_out_cases], contrasts) if held_out else []
        learned = in_contrasts(read_cases(cases)[:first_cases], contrasts)
        run = opening(settings, learned, out, team=console.team, unseen=unseen, listeners=console.listeners())
        console.train(run.trainer, minutes)


def _settings(kind: type[Settings], run: Path, config: Path | None, chosen: dict[str, Any]) -> Settings:
    """Options go before a file of settings, that before those of a training that was begun."""
    from vcm.training.trainer.trainer import SETTINGS

    kept = run / SETTINGS
    if config is not None:
        settings = kind.read(config)
    elif kept.is_file():
        settings = kind.read(kept)
    else:
        settings = kind()
    return replace(settings, **{name: value for name, value in chosen.items() if value is not None})


def _grid(backbone: str) -> Any:
    from vcm.packs.store import find_pack

    return find_pack(backbone).backbone.grid


def _contrasts(settings: TrainingSettings) -> Any:
    from vcm.cohort.contrasts import contrasts_of
    from vcm.packs.store import find_pack

    if not settings.contrasts:
        return {}
    return contrasts_of(settings.contrasts, find_pack(settings.backbone).backbone.attributes, settings.backbone)
