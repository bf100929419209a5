"""One hash of all that decides what a run makes, by which its results are known again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from vcm.core.errors import VcmError
from vcm.core.hashing import hash_file
from vcm.packs.manifest import FILE_NAME
from vcm.packs.store import Pack
from vcm.runs.job import GenerateJob
from vcm.runs.layout_choice import LayoutChoice


def hash_request(
    job: GenerateJob, backbone: Pack, control: Pack | None, layout: LayoutChoice | None = None
) -> str | None:
    """SHA-256 over a job's settings, the bytes of its input files and its packs (manifests and weights), among them the
    layout that completes it.

    Where the inputs lie, where the results go and how the work is fitted into the machine do not count. None where an
    input cannot be read.
    """
    try:
        conditions = [
            [c.name, hash_file(c.path), c.label, c.strength, c.start, c.end, _optional(c.region)]
            for c in sorted(job.conditions, key=lambda c: c.name)
        ]
        noise = _optional(job.noise)
    except (OSError, VcmError):
        return None
    sampler, steps = backbone.backbone.sampling.chosen(job.sampler, job.steps)
    asked = {
        "packs": [_weights(backbone), _weights(control) if control else None],
        "conditions": conditions,
        "attributes": dict(job.attributes),
        "raw_attributes": dict(job.raw_attributes),
        "seed": job.seed,
        "samples": job.samples,
        "sampler": sampler,
        "steps": steps,
        "noise": noise,
        "uncontrolled": job.uncontrolled,
        "precision": job.precision,
        "segmenter": job.segmenter,
    }
    if layout is not None:
        asked["layout"] = [_weights(layout.pack), _weights(layout.control)]
    if scale := backbone.backbone.intensity:
        asked["intensity"] = [scale.low, scale.high]
    asked |= {name: value for name in ("size", "spacing") if (value := getattr(job, name)) is not None}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode("utf-8")).hexdigest()


def _optional(path: Path | None) -> str | None:
    return hash_file(path) if path is not None else None


def _weights(pack: Pack) -> dict[str, str]:
    weights = {role: file.sha256 for role, file in pack.manifest.files.items()}
    return {**weights, FILE_NAME: hash_file(pack.folder / FILE_NAME)}
