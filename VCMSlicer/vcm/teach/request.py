"""What is asked of `vcm teach`, who is listening, and how it ended."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vcm.core.errors import Code, VcmError
from vcm.core.findings import Finding
from vcm.core.progress import Progress
from vcm.packs.installation import check_name
from vcm.packs.store import default_backbone, find_pack, packs_folder
from vcm.teach.conditions import Taught
from vcm.teach.settings import KIND
from vcm.training.data.latent_store import LATENTS


@dataclass(frozen=True)
class TeachRequest:
    """What is asked for. `work` is where the teaching lies until it is a pack: by default `CASES/teaching/NAME`; `out`
    a folder for the pack instead of the user's packs."""

    cases: Path
    name: str
    taught: Taught = field(default_factory=lambda: Taught(("ventricles",)))
    backbone: str = field(default_factory=default_backbone)
    out: Path | None = None
    work: Path | None = None
    minutes: float = math.inf
    steps: int | None = None
    batch: int | None = None
    device: str = "auto"
    plan_only: bool = False
    force: bool = False
    data: str = ""
    licence: str = ""
    kind: str = KIND

    @property
    def command(self) -> str:
        """The command as it stands in the pack, which is given away: of all options those that hold no path."""
        values: list[tuple[str, object]] = [("--name", self.name)]
        values += [("--condition", name) for name in self.taught.conditions]
        values += [("--structure", f"{name}={','.join(map(str, v))}") for name, v in self.taught.made.items()]
        values += [("--control-kind", self.kind)] if self.kind != KIND else []
        values += [("--backbone", find_pack(self.backbone).name), ("--steps", self.steps), ("--batch", self.batch)]
        values += [("--minutes", f"{self.minutes:g}")] if math.isfinite(self.minutes) else []
        given = [(option, str(value)) for option, value in values if value is not None]
        return shlex.join(["vcm", "teach", "CASES", *(word for pair in given for word in pair)])

    @property
    def folder(self) -> Path:
        return self.work or self.cases / "teaching" / self.name

    @property
    def pack_folder(self) -> Path:
        return self.out or packs_folder() / self.name

    @property
    def latents(self) -> Path:
        """A cohort's own conditions share its latents; new structures are cached apart."""
        return self.folder / LATENTS if self.taught.made or self.work else self.cases / LATENTS


@dataclass(frozen=True)
class TeachListeners:
    """Callbacks of a teaching: messages, findings about cases, progress."""

    words: Callable[[str], object] = lambda words: None
    finding: Callable[[Finding], object] = lambda finding: None
    progress: Callable[[Progress], object] = lambda progress: None


@dataclass(frozen=True)
class Outcome:
    """How it ended: `planned`, `paused`, `finished`; with the pack's folder and the report where there are."""

    how: str
    pack: Path | None = None
    report: Path | None = None


def asked_of(request: TeachRequest) -> dict[str, Any]:
    """All of a request that the pack and its card depend on, but for the cases."""
    wanted = {name: getattr(request, name) for name in ("backbone", "steps", "batch", "data", "licence")}
    if request.kind != KIND:
        wanted["kind"] = request.kind
    return {"taught": request.taught.as_dict(), **wanted}


def refuse_name(request: TeachRequest) -> None:
    """Refuse a name or a folder under which the pack could not be put in place."""
    if request.out is None:
        check_name(request.name, force=request.force)
    elif request.out.name != request.name:
        raise VcmError(
            Code.BAD_REQUEST,
            f"A pack's folder bears the pack's name: {request.out} would have to end in {request.name}.",
            f"Give --out {request.out / request.name}",
        )
    elif request.out.exists() and any(request.out.iterdir()) and not request.force:
        raise VcmError(
            Code.BAD_REQUEST, f"{request.out} holds something already.", "Choose another folder, or --force."
        )
