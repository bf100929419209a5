"""What is written beside every Sample: what made it, from what, and its alignment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from vcm import __version__
from vcm.conditions.attributes import ALL, AttributeValue
from vcm.conditions.condition import ClassSpec, Condition, Kind
from vcm.core.findings import Finding
from vcm.core.plain_text import capital
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment
from vcm.outputs.atomic_files import write_json
from vcm.packs.manifest import BackboneManifest, LayoutManifest, Manifest

FORMAT = 1
NOTICE = "Synthetic image made by VCMSlicer, not a scan of a person. For research only, not for diagnosis."


@dataclass(frozen=True)
class SamplingRecord:
    """How the Samples were drawn; `plan` says in words how the work was fitted into the machine. With `noise_given` the
    initial noise came from a file, and the seeds say nothing."""

    sampler: str
    steps: int
    seed: int
    precision: str
    device: str
    plan: str = ""
    noise_sha256: str | None = None
    noise_given: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "sampler": self.sampler,
            "steps": self.steps,
            "seed": self.seed,
            "precision": self.precision,
            "device": self.device,
            "plan": self.plan,
            "noise_sha256": self.noise_sha256,
            "noise_given": self.noise_given,
        }


@dataclass(frozen=True)
class TwinRecord:
    """The image from the same noise without the control."""

    file: str
    alignment: Alignment | None = None

    def as_dict(self) -> dict[str, Any]:
        return {"file": file_name(self.file), "alignment": self.alignment.as_dict() if self.alignment else None}


@dataclass(frozen=True)
class LayoutRecord:
    """The label map of a whole head that a Sample was made from: its file, the attributes that were measured on it, and
    the Sample's alignment with all of it."""

    file: str
    attributes: Sequence[AttributeValue] = ()
    alignment: Alignment | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": file_name(self.file),
            "attributes": [value.as_dict() for value in self.attributes],
            "alignment": self.alignment.as_dict() if self.alignment else None,
        }


@dataclass(frozen=True)
class SampleRecord:
    """One Sample: its file, its seed, its alignment, the file of the segmentation it was measured by, the contrast that
    it shows, empty where that is not known, and the head that a layout completed for it."""

    file: str
    seed: int
    alignment: Alignment | None = None
    uncontrolled: TwinRecord | None = None
    segmentation: str | None = None
    contrast: str = ""
    layout: LayoutRecord | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": file_name(self.file),
            "seed": self.seed,
            "contrast": self.contrast,
            "segmentation": file_name(self.segmentation) if self.segmentation else None,
            "alignment": self.alignment.as_dict() if self.alignment else None,
            "uncontrolled": self.uncontrolled.as_dict() if self.uncontrolled else None,
            **({"layout": self.layout.as_dict()} if self.layout else {}),
        }


@dataclass(frozen=True)
class Cost:
    """Seconds by stage, and what was noted about memory."""

    timing_s: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)


def build_report(
    *,
    backbone: BackboneManifest,
    control: Manifest | None,
    conditions: Sequence[Condition],
    attributes: Sequence[AttributeValue],
    sampling: SamplingRecord,
    samples: Sequence[SampleRecord],
    contrasts: Sequence[AttributeValue] = (),
    segmenter: str,
    segmenter_labels: Sequence[ClassSpec] = (),
    condition_files: Mapping[str, str] = MappingProxyType({}),
    findings: Sequence[Finding] = (),
    cost: Cost | None = None,
    files: Sequence[str] = (),
    complete: bool = True,
    request_sha256: str | None = None,
    layout: LayoutManifest | None = None,
) -> dict[str, Any]:
    """All that is known about a run, as plain JSON values in a fixed order (documented in `docs/report.md`).

    `segmenter` says in a sentence who measured, `segmenter_labels` what the values of its label maps mean, and
    `condition_files` which file holds what the model was given for a condition, by the condition's name. `files` names
    what the run left in its folder, and `complete` is False while it still goes on. `request_sha256` stands for what
    was asked for. `contrasts` are the values of an attribute of which every one was made.
    Reports are passed on, and files and folders may be named after a patient: none of the user's stands in it.
    """
    cost = cost or Cost()
    hidden = {condition.source: f"the {condition.spec.name} file" for condition in conditions if condition.source}
    hidden |= {each.region_source: f"the region of {each.spec.name}" for each in conditions if each.region_source}
    about = {condition.spec.name for condition in conditions}
    report = {
        "format": FORMAT,
        "synthetic": True,
        "notice": NOTICE,
        "engine": __version__,
        "complete": complete,
        "request_sha256": request_sha256,
        "files": [file_name(name) for name in files],
        "packs": {
            "backbone": {**_pack(backbone), "contrast": backbone.contrast, "body_part": backbone.body_part},
            "control": _pack(control) if control else None,
        },
        **({"layout": _layout(layout)} if layout else {}),
        "conditions": [_condition(entry, condition_files, findings, hidden) for entry in conditions],
        "findings": _findings((f for f in findings if f.subject not in about), hidden),
        "attributes": [_attribute(value, contrasts) for value in attributes],
        "sampling": sampling.as_dict(),
        "segmenter": segmenter,
        "segmenter_labels": [{"value": entry.value, "name": entry.name} for entry in segmenter_labels],
        "samples": [sample.as_dict() for sample in samples],
        "timing_s": {stage: round(float(seconds), 3) for stage, seconds in cost.timing_s.items()},
        "memory": dict(cost.memory),
    }
    return {key: _plain(value) for key, value in report.items()}


def write_report(path: str | Path, report: Mapping[str, Any]) -> None:
    """Put a report in place whole, as strict JSON."""
    write_json(path, dict(report))


def condition_hash(condition: Condition) -> str:
    """SHA-256 of what the model was given: kind, Grid and voxels, whatever number type held them.

    >>> from vcm.conditions.condition import ConditionSpec
    >>> from vcm.core.grid import Grid
    >>> spec = ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"})
    >>> mask = np.array([[[0, 1, 0]]])
    >>> hashes = [condition_hash(Condition(spec, Volume(mask.astype(t), Grid((1, 1, 3), np.eye(4))))) for t in "bf"]
    >>> hashes[0] == hashes[1], hashes[0][:8]
    (True, '7eeb5d44')
    """
    return _volume_hash(condition.volume, condition.spec.kind)


def file_name(path: str) -> str:
    r"""The last part of a path of any system: folders may name a patient.

    >>> file_name("/data/Jane Doe/mask.nii.gz"), file_name(r"C:\patients\7\t1.nrrd:4")
    ('mask.nii.gz', 't1.nrrd:4')
    """
    return re.split(r"[\\/]", path)[-1]


def _volume_hash(volume: Volume, kind: Kind) -> str:
    number = "<f4" if kind is Kind.IMAGE else "<i4"
    digest = hashlib.sha256(f"{kind.value} {' '.join(map(str, volume.grid.shape))}\n".encode("ascii"))
    # Adding 0 turns -0 into 0, which would hash differently.
    digest.update((volume.grid.affine + 0.0).astype("<f8").tobytes(order="C"))
    digest.update((volume.array + np.zeros((), volume.array.dtype)).astype(number).tobytes(order="C"))
    return digest.hexdigest()


def _attribute(value: AttributeValue, contrasts: Sequence[AttributeValue]) -> dict[str, Any]:
    several = any(contrast.spec == value.spec for contrast in contrasts)
    return {**value.as_dict(), "raw": None, "value": ALL} if several else value.as_dict()


def _pack(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "files": {role: manifest.files[role].sha256 for role in sorted(manifest.files)},
        "trained": {role: manifest.trained[role] for role in sorted(manifest.trained)},
    }


def _layout(manifest: LayoutManifest) -> dict[str, Any]:
    return {**_pack(manifest), "labels": [{"value": c.value, "name": c.name} for c in manifest.classes]}


def _condition(
    condition: Condition, files: Mapping[str, str], findings: Iterable[Finding], hidden: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "name": condition.spec.name,
        "kind": condition.spec.kind.value,
        "file": files.get(condition.spec.name),
        "classes": [
            {"value": entry.value, "name": entry.name, "segmenter": list(entry.segmenter)}
            for entry in condition.spec.classes
        ],
        "sha256": condition_hash(condition),
        "strength": condition.strength,
        "window": [condition.start, condition.end],
        "region_sha256": _volume_hash(condition.region, Kind.IMAGE) if condition.region else None,
        "findings": _findings((f for f in findings if f.subject == condition.spec.name), hidden),
    }


def _findings(findings: Iterable[Finding], hidden: Mapping[str, str]) -> list[dict[str, Any]]:
    """The findings with words in place of the user's files."""
    entries = [finding.as_dict() for finding in findings]
    for path, words in hidden.items():
        for entry in entries:
            for part in ("sentence", "remedy"):
                entry[part] = capital(entry[part].replace(path, words).replace(file_name(path), words))
    return entries


def _plain(value: Any) -> Any:
    """The value in JSON's own types, where numpy's may have crept in."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
