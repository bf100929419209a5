"""Run a training recipe: its cohorts, trainings, packs and evaluations, one after the other.

`python tools/train_recipe.py training/recipes/default.toml --labelmaps folder --work train-work`. Stopped at any point,
the same command resumes: a step that is done is skipped, and a training goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vcm.core.errors import VcmError
from vcm.core.hashing import hash_file
from vcm.core.reading import read_json, read_toml
from vcm.core.typed_json import FieldError, read_fields
from vcm.outputs.atomic_files import write_json

DONE = "recipe-steps.json"
"""The steps that are done, in the work folder: their command and the hash of their settings."""


@dataclass(frozen=True)
class Cohort:
    """Heads to make from label maps (`vcm cohort make`) and, with `check`, to measure (`vcm cohort check`)."""

    name: str
    heads: str
    count: int
    seed: int
    grid: str = "whole-head"
    lesions: float = 0.5
    contrasts: str = "t1"
    check: bool = False


@dataclass(frozen=True)
class Backbone:
    """A pack with random weights (`vcm packs new`), with which a family's training from nothing begins; `config` is
    named from the settings' folder."""

    name: str
    family: str
    config: str


@dataclass(frozen=True)
class Training:
    """A network to train and export. With several `settings`, each part starts from the weights of the one before.

    `pack` is where the pack goes, below `WORK/packs`, and `backbone` another pack there; `cases` and `held_out` name
    cohorts. With 8 `bits`, what was trained is stored in 8 bits per channel. With `spread`, what its samples lack of
    the cases' spread is measured and goes into the pack. With `evaluate`, the pack's card gets the figures of `vcm
    evaluate` on the held-out cohort.
    """

    kind: str
    settings: tuple[str, ...]
    pack: str
    cases: str = "cohort"
    held_out: str = "unseen"
    backbone: str = ""
    first_cases: int = 0
    bits: int = 16
    spread: bool = False
    evaluate: bool = False


@dataclass(frozen=True)
class Recipe:
    """What a recipe's file says; `options` are given to every training."""

    data: str
    licence: str
    command: str
    cohorts: tuple[Cohort, ...]
    trainings: tuple[Training, ...]
    options: tuple[str, ...] = ()
    backbones: tuple[Backbone, ...] = ()


@dataclass(frozen=True)
class Step:
    """One command of `vcm`; `makes` is the folder it fills, and `reads` the settings it depends on."""

    name: str
    arguments: tuple[str, ...]
    makes: Path
    reads: Path | None = None

    def mark(self) -> list[str]:
        """What must be the same for the step to count as done."""
        return [shlex.join(self.arguments), hash_file(self.reads) if self.reads else ""]


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file; SystemExit with a sentence where it is not one."""
    try:
        return read_fields(Recipe, read_toml(path))
    except (FieldError, VcmError) as error:
        raise SystemExit(f"{path} is not a recipe: {error}") from None


def steps_of(recipe: Recipe, settings: Path, labelmaps: Path, work: Path, hardware: str) -> Iterator[Step]:
    """All steps in order; `settings` is the folder that the recipe's settings are named from."""
    for backbone in recipe.backbones:
        made, config = work / "packs" / backbone.name, settings / backbone.config
        arguments = ["packs", "new", backbone.name, "--family", backbone.family, "--config", config, "--force"]
        yield _step(f"begin {backbone.name}", arguments, made, config)
    for cohort in recipe.cohorts:
        made = work / cohort.name
        arguments = ["cohort", "make", "--labelmaps", labelmaps, "--heads", cohort.heads, "--count", cohort.count]
        arguments += ["--seed", cohort.seed, "--grid", cohort.grid, "--lesions", cohort.lesions, "--out", made]
        arguments += ["--contrasts", cohort.contrasts]
        yield _step(f"make {cohort.name}", arguments, made)
        if cohort.check:
            yield _step(f"check {cohort.name}", ["cohort", "check", made], made)
    for training in recipe.trainings:
        yield from _training_steps(recipe, training, settings, work, hardware)


def _training_steps(recipe: Recipe, training: Training, settings: Path, work: Path, hardware: str) -> Iterator[Step]:
    pack = work / "packs" / training.pack
    backbone = ["--backbone", work / "packs" / training.backbone] if training.backbone else []
    first = ["--first-cases", training.first_cases] if training.first_cases else []
    run: Path | None = None
    for name in training.settings:
        start = ["--start", run] if run else []
        run = work / "runs" / f"{training.cases}-{name.removesuffix('.toml').replace('/', '-')}"
        arguments = ["train", training.kind, "--cases", work / training.cases, "--held-out", work / training.held_out]
        arguments += ["--out", run, "--config", settings / name, *backbone, *first, *start, *recipe.options]
        yield _step(f"train {run.name}", arguments, run, settings / name)
    assert run is not None
    about = ["--hardware", hardware, "--data", recipe.data, "--licence", recipe.licence, "--command", recipe.command]
    export = ["train", "export", *about, "--run", run, "--out", pack]
    export += [] if training.bits == 16 else ["--bits", training.bits]
    yield _step(f"export {pack.name}", export, pack)
    if training.spread:
        cases = ["--cases", work / training.cases]
        yield _step(
            f"measure the spread of {pack.name}",
            ["train", "spread", "--run", run, "--pack", pack, *backbone, *cases],
            run / "spread.safetensors",
        )
        yield _step(f"export {pack.name} with its spread", export, pack)
    if training.evaluate:
        figures = run / "evaluated"
        cases = ["--cases", work / training.held_out, "--out", figures]
        yield _step(f"evaluate {pack.name}", ["evaluate", pack, *backbone, *cases], figures)
        figured = [*export, "--figures", figures / "summary.md"]
        yield _step(f"export {pack.name} with its figures", figured, pack)


def _step(name: str, arguments: Sequence[object], makes: Path, reads: Path | None = None) -> Step:
    return Step(name, tuple(map(str, arguments)), makes, reads)


def run_steps(steps: Sequence[Step], work: Path, call: Callable[[Sequence[str]], int]) -> None:
    """Run the first step that is not done and all after it; one that fails ends it with that step's exit code."""
    work.mkdir(parents=True, exist_ok=True)
    record = work / DONE
    done = dict(read_json(record)) if record.is_file() else {}
    current = True
    for number, step in enumerate(steps, 1):
        current = current and done.get(step.name) == step.mark() and step.makes.exists()
        if current:
            print(f"{number}/{len(steps)} {step.name}: done before")
            continue
        print(f"{number}/{len(steps)} {step.name}: vcm {shlex.join(step.arguments)}", flush=True)
        code = call(step.arguments)
        if code:
            print(f"{step.name} ended with exit code {code}. Run the same command again to resume.", file=sys.stderr)
            raise SystemExit(code)
        done[step.name] = step.mark()
        write_json(record, done)


def main() -> None:
    """Run the recipe that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a file of training/recipes")
    parser.add_argument("--labelmaps", type=Path, required=True, help="the folder with labels.json and the label maps")
    parser.add_argument("--work", type=Path, default=Path("train-work"), help="where cohorts, trainings and packs go")
    parser.add_argument("--hardware", default="a CPU", help="the machine in words, for the packs' cards")
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")
    chosen = parser.parse_args()
    recipe = read_recipe(chosen.recipe)
    steps = list(steps_of(recipe, chosen.recipe.parents[1], chosen.labelmaps, chosen.work, chosen.hardware))
    if chosen.dry_run:
        for step in steps:
            print("vcm", shlex.join(step.arguments))
        return
    if not (chosen.labelmaps / "labels.json").is_file():
        raise SystemExit(f"{chosen.labelmaps} holds no labels.json. Give the folder of the label maps: --labelmaps")
    environment = {**os.environ, "VCM_PACKS": str(chosen.work / "packs")}
    run_steps(
        steps,
        chosen.work,
        lambda arguments: (
            subprocess.run([sys.executable, "-m", "vcm", *arguments], env=environment, check=False).returncode
        ),
    )
    print(f"The packs are in {chosen.work / 'packs'}.")


if __name__ == "__main__":
    main()
