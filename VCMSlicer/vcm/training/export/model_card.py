"""What a stranger must know before using a pack that was trained here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.core.grid import Grid
from vcm.core.reading import missing_as, read_text
from vcm.packs.store import Pack
from vcm.training.control.settings import ControlSettings
from vcm.training.trainer.settings import TrainingSettings

LICENCE_TEXTS = {"Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0"}
"""Where the terms of a licence can be read, by its SPDX name."""

COMMANDS = {"vcm", "make", "train", "teach", "control", "denoiser", "autoencoder", "segmenter", "layout"} | {
    "train-default", "train-micro",
}  # fmt: skip
SHOWN_OPTIONS = {"--steps", "--minutes", "--batch", "--first-cases", "--held-out-cases", "--threads", "--device"} | {
    "--name", "--condition", "--conditions", "--structure",
}  # fmt: skip
VALUE = re.compile(r"[\w+,:=-]+|\d+\.\d+")
"""What of a command a card shows: words of the program, and such values of such options."""

PRECISIONS = {"auto": "in bf16 where the device is fast at it", "bf16": "bf16", "fp32": "fp32"}

OPTIMISERS = {"adamw": "AdamW", "muon": "Muon, and AdamW for biases and norms,"}

KINDS = {"mask": "a mask", "labels": "a label map", "image": "an image"}


@dataclass(frozen=True, kw_only=True)
class ExportNotes:
    """What its maker says of a pack: the command, the machine in words, and where the data come from.

    `figures` is the summary of an evaluation.
    """

    command: str = ""
    hardware: str = "a CPU"
    data: str = ""
    licence: str = ""
    version: str = ""
    figures: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance(ExportNotes):
    """The same with what the training itself knows."""

    minutes: float
    steps: int
    cases: int

    @property
    def terms(self) -> dict[str, str]:
        """The manifest's licence. What was taught with somebody's scans is under no licence unless they say so."""
        note = self.data or "The source of the cases was not given."
        if not self.licence:
            return {"name": "not stated", "note": f"Ask its makers before you share it. {note}"}
        return {"name": self.licence, "url": LICENCE_TEXTS.get(self.licence, ""), "note": note}


def without_paths(command: str) -> str:
    """A command for a card, which is given away: what could name a file or a folder of the user's is left out.

    >>> without_paths("vcm train control --cases /home/a/miller --steps 30 --start=../run --minutes 1.5")
    'vcm train control --cases … --steps 30 --start=… --minutes 1.5'
    """
    kept: list[str] = []
    option = ""
    for word in command.split():
        given, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        known = value in COMMANDS if not (given or option) else (given or option) in SHOWN_OPTIONS
        if given and re.fullmatch(r"-{1,2}[a-z][a-z-]*", given):
            shown = value if known and VALUE.fullmatch(value) else "…"
            kept.append(f"{given}={shown}" if equals else given)
            option = "" if equals else given
        else:
            kept.append(value if known and VALUE.fullmatch(value) else "…")
            option = ""
    return " ".join(kept)


def read_figures(summary: Path | None, validated: Mapping[str, Any] | None) -> str:
    """The card's figures: the summary that `vcm evaluate` wrote, else the training's own last validation."""
    if summary is not None:
        with missing_as(f"There is no file {summary}.", "Make it with vcm evaluate."):
            return _within_a_card(read_text(summary))
    if not validated:
        return "Not measured yet: `vcm evaluate` does."
    rows = [
        f"| {name.replace('_', ' ')} | {value:.3f} |"
        for name, value in validated.items()
        if name not in ("step", "cases")
    ]
    head = [
        f"| mean over {validated['cases']} held-out cases of the training, at step {validated['step']} | |",
        "|---|---|",
    ]
    return "\n".join([*head, *rows])


def _within_a_card(summary: str) -> str:
    """A summary without its title and the cases left out, its headings one level down.

    >>> _within_a_card("# name on cases\\n\\nMeasured.\\n\\n## Given: mask\\n")
    'Measured.\\n\\n### Given: mask'
    """
    shown = summary.partition("\n## Left out\n")[0]  # names of the cases: a card is given away
    lines = [line for line in shown.splitlines() if not line.startswith("# ")]
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in lines).strip()


def control_card(
    name: str,
    backbone: Pack,
    settings: ControlSettings,
    entries: Sequence[Mapping[str, Any]],
    provenance: Provenance,
    figures: str,
) -> str:
    """The README of a control's pack."""
    listed = "\n".join(_condition_row(entry) for entry in entries)
    together = ""
    if len(entries) > 1:
        dropped = settings.dropout != "none"
        together = (
            "\nAny part of them may be given: in training, conditions were left out "
            f"(modality latent dropout, `{settings.dropout}`).\n"
            if dropped
            else "\nAll of them must be given together.\n"
        )
    return f"""# {name}

A Volumetric Conditioning Module (after Ahn et al., WACV 2025) that steers `{backbone.name}` with what is painted.
**Everything it makes is synthetic: for research only, never for diagnosis.**

| condition | kind | what it is | volumes in training |
|---|---|---|---|
{listed}
{together}
## Adherence
{figures}

## Data
{provenance.cases} cases and their mirror images. {provenance.data}

Licence of the pack: {provenance.terms["name"]}.

## Training
{_training(settings, provenance)}
VCM's Eq. 4, the error of ε weighted as `{settings.weighting}`; network `{settings.variant}`.

## Limits
Conditions outside the volumes above, in other places than a brain's, or with holes were never seen. The images are as
good as `{backbone.name}` makes them, and no better; read its card too.
"""


def backbone_card(name: str, base: Pack, settings: TrainingSettings, provenance: Provenance, figures: str) -> str:
    """The README of a backbone's pack whose newest network is of this training."""
    latent = base.backbone.latent
    return f"""# {name}

A latent diffusion model of heads on {grid_in_words(base.backbone.grid)}, with
latents of {latent.shape[0]} channels. **Everything it makes is synthetic: for research only, never for diagnosis.**

Its {settings.kind} was trained as described below; the other networks are those of `{base.name}` (see its card).

## Measured
{figures}

## Data
{provenance.cases} cases and their mirror images. {provenance.data}

## Training
{_training(settings, provenance)}
"""


def layout_card(
    name: str, content: Mapping[str, Any], settings: TrainingSettings, provenance: Provenance, figures: str
) -> str:
    """The README of a layout's pack."""
    labels = ", ".join(f"{entry['value']} {entry['name']}" for entry in content["classes"])
    return f"""# {name}

Completes structures that are drawn to the label map of a whole head on {grid_in_words(Grid(**content["grid"]))}, for
the models {", ".join(content["backbones"])}. What was drawn stays where it is. **Everything it makes is synthetic: for
research only, never for diagnosis.**

Labels: {labels}; 0 is all else.

## Measured
{figures}

## Data
{provenance.cases} cases and their mirror images. {provenance.data}

## Training
{_training(settings, provenance)}
"""


def grid_in_words(grid: Grid) -> str:
    """`a grid of 80 × 112 × 80 voxels of 2 × 2 × 2 mm`."""
    shape, spacing = " × ".join(map(str, grid.shape)), " × ".join(f"{mm:g}" for mm in grid.spacing)
    return f"a grid of {shape} voxels of {spacing} mm"


def _condition_row(entry: Mapping[str, Any]) -> str:
    classes = entry.get("classes", [])
    volumes = "; ".join(
        f"{structure['name']} {structure['typical_ml'][0]:g}–{structure['typical_ml'][1]:g} ml"
        for structure in classes
        if "typical_ml" in structure
    )
    return f"| `{entry['name']}` | {KINDS[entry['kind']]} | {entry['description']} | {volumes or '–'} |"


def _training(settings: TrainingSettings, provenance: Provenance) -> str:
    hours = provenance.minutes / 60
    took = f"{hours:.1f} hours" if hours >= 2 else f"{provenance.minutes:.0f} minutes"
    steps = f"{provenance.steps} of {settings.steps} steps of batch {settings.batch}, {took} on {provenance.hardware}"
    return f"""{_begun_with(settings)}{steps}:

    {provenance.command}

{OPTIMISERS[settings.optimiser]} at {settings.learning_rate:g} with a warm-up and the learning-rate schedule
`{settings.course}`, gradients clipped at {settings.clip:g}, averaged weights (EMA {settings.ema:g}),
{PRECISIONS[settings.precision]}. All settings are in the pack.
"""


def _begun_with(settings: TrainingSettings) -> str:
    """The pack whose weights a training went on with, whose own card tells of what was before."""
    values = settings.as_dict()
    former = values["backbone"] if values.get("scratch") is False else values.get("start")
    return f"Went on with the weights of the pack `{former}`. " if former else ""
