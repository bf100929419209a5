"""A first look at several kinds of control: each is trained on the same cases for the same minutes, then compared.

It says how soon a kind follows its condition on one machine. It does not say which is best when all have learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vcm.cohort.files import read_cases
from vcm.cohort.learning_cases import CohortCase
from vcm.core.csv_tables import csv_text
from vcm.core.errors import Code, VcmError
from vcm.core.typed_json import as_json
from vcm.judging.mean_interval import mean_with_interval
from vcm.outputs.atomic_files import write_text
from vcm.outputs.claims import Claim
from vcm.outputs.sealed_json import read_sealed, read_sealed_as, write_sealed
from vcm.packs.store import find_pack
from vcm.teach.case_check import CheckedCases, check_cases
from vcm.teach.conditions import Taught, TaughtCase
from vcm.teach.pace import measure_pace
from vcm.teach.results import in_words
from vcm.teach.settings import choose_settings
from vcm.training.control.run import ControlRun, open_control_run
from vcm.training.control.settings import ControlSettings
from vcm.training.data.latent_store import LATENTS
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import SETTINGS, Listeners

LOOK, ASKED, TABLE = "look.json", "first-look.json", "first-look.md"

Triple = tuple[float, float, float]
"""A mean with its 95 % interval."""


@dataclass(frozen=True)
class LookRequest:
    """What is compared. `kinds` are as `vcm train control --control-kind` names them; `minutes` are those of training,
    for each; `first_cases` are learned from."""

    cases: Path
    held_out: Path
    out: Path
    kinds: tuple[str, ...]
    backbone: str
    conditions: tuple[str, ...] = ("ventricles",)
    minutes: float = 5.0
    first_cases: int = 50
    held_out_cases: int = 8
    device: str = "auto"


@dataclass(frozen=True)
class Look:
    """What came of one kind: Dice (or minus the squared error of images) with the control, without it and of the
    autoencoder's reconstruction; or the sentence with which the kind was refused."""

    kind: str
    parameters: int = 0
    steps: int = 0
    minutes: float = 0.0
    step_seconds: float = 0.0
    scores: Mapping[str, Triple] = field(default_factory=dict)
    refused: str = ""


def take_look(request: LookRequest, team: Team, say: Callable[[str], object]) -> list[Look]:
    """Train and try each kind; what an earlier call of the same request finished or began in `out` is kept."""
    manifest = find_pack(request.backbone).backbone
    with Claim(request.out, inputs=[request.cases / "cases.csv", request.held_out / "cases.csv"]):
        _refuse_another(request)
        taught = Taught(request.conditions)
        checked = check_cases(request.cases, taught, manifest, taught.specs(manifest), lambda done, total: None)
        held = [
            TaughtCase(CohortCase(entry, manifest.grid), {})
            for entry in read_cases(request.held_out)[: request.held_out_cases]
        ]
        looks = []
        for kind in request.kinds:
            looks.append(_look_at(kind, request, checked, held, team, say))
            write_text(request.out / TABLE, table_of(looks, request))
            write_text(request.out / "first-look.csv", csv_text(_rows(looks)))
    return looks


def _look_at(
    kind: str,
    request: LookRequest,
    checked: CheckedCases,
    held: Sequence[TaughtCase],
    team: Team,
    say: Callable[[str], object],
) -> Look:
    folder = request.out / kind
    if (folder / LOOK).is_file():
        return read_sealed_as(Look, folder / LOOK)
    say(f"{kind}: training for {request.minutes:g} minutes")
    try:
        run = _open(kind, request, checked, held, team)
    except VcmError as error:
        if error.code is not Code.BAD_REQUEST:
            raise
        say(f"{kind}: {error.sentence}")
        return Look(kind, refused=error.sentence)
    trainer, validator = run.trainer, run.task.validator
    trainer.train(max(0.0, request.minutes - trainer.seconds / 60))
    assert validator is not None
    control = run.task.control.with_network(trainer.average.network)
    found = [validator.validate_case(control, place).figures for place in range(len(held))]
    ways = ("controlled", "uncontrolled", "reconstructed")
    look = Look(
        kind,
        sum(p.numel() for p in trainer.network.parameters()),
        trainer.step,
        trainer.seconds / 60,
        trainer.seconds / max(1, trainer.step),
        {way: mean_with_interval([figures[way] for figures in found]) for way in ways},
    )
    write_sealed(folder / LOOK, as_json(look))
    say(f"{kind}: {look.steps} steps, {in_words(look.scores['controlled'], len(held))}")
    return look


def _open(kind: str, request: LookRequest, checked: CheckedCases, held: Sequence[TaughtCase], team: Team) -> ControlRun:
    """The training of a kind, begun or resumed: as many steps as the minutes have room for by a measured one."""
    folder, latents = request.out / kind, request.out / LATENTS
    manifest = find_pack(request.backbone).backbone
    specs, learned = Taught(request.conditions).specs(manifest), list(checked.usable[: request.first_cases])
    if (folder / SETTINGS).is_file():
        settings = ControlSettings.read(folder / SETTINGS)
    else:
        settings = choose_settings(
            manifest, specs, checked.shares, len(learned), gpu=team.device.type != "cpu", steps=1000, kind=kind
        ).settings
        pace = measure_pace(settings, specs, learned, held[0], latents, team)
        steps = max(1, int(request.minutes * 60 / pace.step))
        settings = replace(
            settings, steps=steps, warmup=min(40, steps // 10), log_every=max(1, steps // 20), validate_every=0,
            patience=0, save_every=max(1, min(100, int(30 / pace.step))),
        )  # fmt: skip
    run = open_control_run(
        settings, learned, folder, latents=latents, team=team, unseen=held, specs=specs, listeners=Listeners()
    )
    run.task.validation_size = 0  # the cases are tried once, when the time is over
    return run


def table_of(looks: Sequence[Look], request: LookRequest) -> str:
    """The comparison in Markdown, the best first."""
    cases = request.held_out_cases
    lines = [
        f"Each kind was trained for {request.minutes:g} minutes on the same {request.first_cases} cases at most, for "
        f"{', '.join(request.conditions)} on {request.backbone}; {cases} held-out cases (mean and 95 % interval).",
        "",
        "| control | parameters | steps | seconds a step | Dice, controlled | same noise without | reconstruction |",
        "|---|---|---|---|---|---|---|",
    ]
    done = sorted((look for look in looks if look.scores), key=lambda look: -look.scores["controlled"][0])
    for look in done:
        scores = " | ".join(
            in_words(look.scores[way], cases) for way in ("controlled", "uncontrolled", "reconstructed")
        )
        lines.append(f"| `{look.kind}` | {look.parameters:,} | {look.steps} | {look.step_seconds:.2f} | {scores} |")
    lines += [f"| `{look.kind}` | not trained: {look.refused} | | | | | |" for look in looks if look.refused]
    return "\n".join(lines) + "\n"


def _rows(looks: Sequence[Look]) -> list[list[str]]:
    head = ["kind", "parameters", "steps", "minutes", "step_seconds", "controlled", "uncontrolled", "reconstructed"]
    rows = [
        [
            look.kind, str(look.parameters), str(look.steps), f"{look.minutes:.3f}", f"{look.step_seconds:.4f}",
            *(f"{look.scores[way][0]:.4f}" for way in head[5:]),
        ]
        for look in looks
        if look.scores
    ]  # fmt: skip
    return [head, *rows]


def _refuse_another(request: LookRequest) -> None:
    """Only the kinds may differ from those of the call that began a folder."""
    asked: dict[str, Any] = {
        name: getattr(request, name) for name in ("backbone", "conditions", "minutes", "first_cases", "held_out_cases")
    }
    asked = as_json({**asked, "cases": str(request.cases.resolve()), "held_out": str(request.held_out.resolve())})
    path = request.out / ASKED
    if path.is_file() and read_sealed(path) != asked:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{request.out} holds a comparison of other cases, minutes or conditions.",
            "Give the same again, or another folder with --out.",
        )
    write_sealed(path, asked)
