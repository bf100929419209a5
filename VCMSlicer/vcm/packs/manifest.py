"""What a pack says about itself: `manifest.json`, checked and typed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ClassSpec, ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.hashing import hash_file
from vcm.core.typed_json import misfit
from vcm.core.volume import Volume
from vcm.models.process import PROCESSES, Process, process_from
from vcm.outputs.atomic_files import write_text
from vcm.packs.schema import check_schema, read_document
from vcm.packs.sizes import SizeRule

FORMAT = 1
FILE_NAME = "manifest.json"
SCHEMA = "manifest.schema.json"

FAMILY = "latent-diffusion"
"""The family of backbones where a manifest names none."""

MOST_VOXELS = 2**27
"""Voxels of a model's grid: 512³, five hundred times those of the pack that ships."""


@dataclass(frozen=True)
class PackFile:
    """One file of a pack: its path inside the folder, its SHA-256 and its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Licence:
    """Under which terms the weights may be used."""

    name: str
    url: str = ""
    note: str = ""


@dataclass(frozen=True)
class LatentSpec:
    """The latent as the autoencoder makes it: `[channels, i, j, k]`, and how the denoiser wants it.

    `scale_factor` multiplies the latent before denoising; `packing` folds blocks of that edge into channels;
    `whitened` says that the pack has a file of per-voxel mean and standard deviation, and `atlas` that the denoiser is
    shown that mean.
    """

    shape: tuple[int, ...]
    scale_factor: float
    packing: int = 1
    whitened: bool = False
    atlas: bool = False


@dataclass(frozen=True)
class UsualSampling:
    """How a backbone is sampled where nobody chooses: `steps` of `sampler`, None for this one's usual number."""

    sampler: str = "dpm++"
    steps: int | None = None

    def chosen(self, sampler: str | None, steps: int | None) -> tuple[str, int | None]:
        """Sampler and steps where each may be left open; the steps of one sampler say nothing of another's.

        >>> usual = UsualSampling("rflow", 30)
        >>> usual.chosen(None, None), usual.chosen(None, 7), usual.chosen("ddim", None), usual.chosen("rflow", None)
        (('rflow', 30), ('rflow', 7), ('ddim', None), ('rflow', 30))
        """
        sampler = sampler or self.sampler
        return sampler, self.steps if steps is None and sampler == self.sampler else steps


@dataclass(frozen=True)
class IntensityScale:
    """What 0 and 1 of a model's images stand for in a `unit` such as HU."""

    low: float
    high: float
    unit: str

    def applied(self, image: Volume) -> Volume:
        """The image in that unit, cut off at both ends."""
        span = np.float32(self.high - self.low)
        return Volume(image.array.astype(np.float32).clip(0, 1) * span + np.float32(self.low), image.grid)


@dataclass(frozen=True)
class BackboneReference:
    """The backbone a control was trained for, known by the SHA-256 of its denoiser's file."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What backbones and controls have in common."""

    name: str
    title: str
    version: str
    licence: Licence
    files: Mapping[str, PackFile]
    networks: Mapping[str, Any]
    trained: Mapping[str, bool]
    description: str = ""
    card: str | None = None

    @property
    def untrained(self) -> tuple[str, ...]:
        """The networks whose weights are random; whoever uses the pack must be warned."""
        return tuple(role for role, trained in self.trained.items() if not trained)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum({file.path: file.size for file in self.files.values()}.values())


@dataclass(frozen=True, kw_only=True)
class BackboneManifest(Manifest):
    """A pretrained latent diffusion model. `contrast` is what its images show, such as `T1w`, and `body_part` of what,
    as DICOM names it, such as `BRAIN`; empty where not known. `sizes` are those it makes beside its own
    `grid`, `sampling` is how it is usually sampled, `intensity` in what scale its images are written; 0–1 if None."""

    contrast: str = ""
    body_part: str = ""
    family: str = FAMILY
    grid: Grid
    latent: LatentSpec
    schedule: Mapping[str, Any]
    attributes: tuple[AttributeSpec, ...]
    segmenter_classes: tuple[ClassSpec, ...] = ()
    sizes: SizeRule | None = None
    sampling: UsualSampling = UsualSampling()
    intensity: IntensityScale | None = None
    kind: str = field(default="backbone", init=False)

    @cached_property
    def process(self) -> Process:
        """The noising; that of another package is found only where this is installed."""
        return process_from(self.schedule)

    def resized(self, size: str | None, spacing: str | None) -> BackboneManifest:
        """The same model on another grid, of a size and spacing as `SizeRule.grid` takes them."""
        if size is None and spacing is None:
            return self
        if self.sizes is None:
            raise VcmError(
                Code.BAD_REQUEST, f"The model {self.name} makes images of one size.", "Leave --size and --spacing out."
            )
        grid = self.sizes.grid(self.grid, size, spacing)
        sides = [
            new * latent // own
            for new, latent, own in zip(grid.shape, self.latent.shape[1:], self.grid.shape, strict=True)
        ]
        return replace(self, grid=grid, latent=replace(self.latent, shape=(self.latent.shape[0], *sides)))

    def showing(self, what: str) -> str:
        """Something that shows this contrast, in words: a “T1w scan”; where it is not known a “scan”."""
        return f"{self.contrast} {what}".strip()


@dataclass(frozen=True, kw_only=True)
class ControlManifest(Manifest):
    """A trained module that steers one backbone.

    `scale_factor` stands in for the backbone's own where it is not None; `subsets` says that the control was trained
    to act on any part of its conditions.
    """

    backbone: BackboneReference
    architecture: str
    conditions: tuple[ConditionSpec, ...]
    scale_factor: float | None = None
    subsets: bool = False
    kind: str = field(default="control", init=False)


def read_manifest(folder: Path) -> BackboneManifest | ControlManifest:
    """The checked manifest of the pack in `folder`. The files it names are not opened."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise VcmError(
            Code.PACK_INVALID,
            f"The folder {folder} is no pack: it has no {FILE_NAME}.",
            "Give the folder that holds manifest.json and the .safetensors files.",
        )
    return parse_manifest(read_document(path), folder)


def write_manifest(folder: Path, content: Mapping[str, Any]) -> BackboneManifest | ControlManifest:
    """Check `content`, fill in the hash and size of its files and put it into `folder` in one step.

    The entries of `content["files"]` need a `path` only; the files must lie in `folder` already.
    """
    entries = {}
    for role, entry in content["files"].items():
        file = folder / entry["path"]
        if not file.is_file():
            raise VcmError(Code.FILE_MISSING, f"The pack's {role} should be {file}, but there is no such file.")
        entries[role] = {"path": entry["path"], "sha256": hash_file(file), "size": file.stat().st_size}
    complete = {**content, "files": entries}
    manifest = parse_manifest(complete, folder)
    text = json.dumps(complete, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / FILE_NAME, text + "\n")
    return manifest


def parse_manifest(content: Any, folder: Path) -> BackboneManifest | ControlManifest:
    """Turn a manifest's JSON into its typed form, or raise one sentence that says what does not fit."""
    source = str(folder / FILE_NAME)
    version = content.get("format") if isinstance(content, Mapping) else None
    if isinstance(version, int) and version > FORMAT:
        raise VcmError(
            Code.PACK_INVALID,
            f"{source} has format {version}; this program reads packs up to format {FORMAT}.",
            "Update VCMSlicer, or get the pack in the older format.",
        )
    check_schema(content, SCHEMA, source)
    _refuse_negative(content["networks"], "networks", source)
    try:
        manifest = _backbone(content) if content["kind"] == "backbone" else _control(content)
    except VcmError as error:
        raise VcmError(Code.PACK_INVALID, f"{source} does not fit together. {error.sentence}") from error
    if fault := misfit(manifest):
        raise VcmError(Code.PACK_INVALID, f"In {source}, {fault}.", "Correct that field.")
    for file in [*(file.path for file in manifest.files.values()), *([manifest.card] if manifest.card else [])]:
        _refuse_escape(folder, file, source)
    return manifest


def _backbone(content: Mapping[str, Any]) -> BackboneManifest:
    latent, grid = content["latent"], content["grid"]
    manifest = BackboneManifest(
        **_shared(content),
        contrast=content.get("contrast", ""),
        body_part=content.get("body_part", ""),
        grid=Grid(grid["shape"], grid["affine"]),
        latent=LatentSpec(
            shape=tuple(int(n) for n in latent["shape"]),
            scale_factor=float(latent["scale_factor"]),
            packing=int(latent.get("packing", 1)),
            whitened=latent.get("whitened", False),
            atlas=latent.get("atlas", False),
        ),
        schedule=content["schedule"],
        family=content.get("family", FAMILY),
        attributes=tuple(AttributeSpec.from_dict(entry) for entry in content["attributes"]),
        segmenter_classes=_segmenter_classes(content.get("segmenter_classes", [])),
        sizes=_sizes(content.get("sizes")),
        sampling=UsualSampling(**content.get("sampling", {})),
        intensity=IntensityScale(**content["intensity"]) if "intensity" in content else None,
    )
    _refuse_twice("the attributes", (spec.name for spec in manifest.attributes))
    if manifest.sizes:
        manifest.sizes.grid(manifest.grid, None, None)
    for spec in manifest.attributes:
        if spec.low is not None and spec.high is not None and spec.low >= spec.high:
            _refuse(f"The attribute {spec.name} has low {spec.low:g}, which must lie below high {spec.high:g}.")
        known = (0.0, 1.0, *spec.choices.values())
        if not min(known) <= spec.default <= max(known):
            _refuse(f"The attribute {spec.name} has default {spec.default:g}, which must lie between 0 and 1.")
    if manifest.family == FAMILY or manifest.schedule["kind"] in PROCESSES.built_in:
        _ = manifest.process
    if manifest.intensity and not manifest.intensity.low < manifest.intensity.high:
        _refuse(f"The intensity has low {manifest.intensity.low:g}, which must lie below its high.")
    _check_latent(manifest)
    _check_segmenter(manifest)
    return manifest


def _control(content: Mapping[str, Any]) -> ControlManifest:
    return ControlManifest(
        **_shared(content),
        backbone=BackboneReference(**content["backbone"]),
        architecture=content["architecture"],
        conditions=read_conditions(content["conditions"]),
        scale_factor=content.get("scale_factor"),
        subsets=content.get("subsets", False),
    )


def read_conditions(entries: Sequence[Mapping[str, Any]]) -> tuple[ConditionSpec, ...]:
    """The conditions of a control, after a look at what no schema can say: nothing twice, classes where they belong."""
    _refuse_twice("the conditions", (entry["name"] for entry in entries))
    specs = tuple(ConditionSpec.from_dict(entry) for entry in entries)
    for spec in specs:
        _refuse_twice(f"the values of {spec.name}", (str(c.value) for c in spec.classes))
        _refuse_twice(f"the classes of {spec.name}", (c.name for c in spec.classes))
        if spec.kind is Kind.LABELS and not spec.classes:
            _refuse(f"The condition {spec.name} is a label map without classes.")
        if spec.kind is Kind.MASK and len(spec.classes) > 1:
            _refuse(f"The condition {spec.name} is a mask, which has one class, but lists {len(spec.classes)}.")
        if spec.kind is Kind.IMAGE and spec.classes:
            _refuse(f"The condition {spec.name} is an image, which has no classes, but lists {len(spec.classes)}.")
    return specs


def _shared(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": content["name"],
        "title": content["title"],
        "version": content["version"],
        "description": content.get("description", ""),
        "licence": Licence(**content["licence"]),
        "files": {role: PackFile(**entry) for role, entry in content["files"].items()},
        "networks": content["networks"],
        "trained": content["trained"],
        "card": content.get("card"),
    }


def _sizes(entry: Mapping[str, Any] | None) -> SizeRule | None:
    if entry is None:
        return None
    low, high = map(float, entry["spacing"])
    if low > high:
        _refuse(f"The spacing of its sizes goes from {low:g} to {high:g}.")
    return SizeRule(int(entry["multiple"]), int(entry["most"]), (low, high))


def _segmenter_classes(entries: Sequence[Mapping[str, Any]]) -> tuple[ClassSpec, ...]:
    if not entries:
        return ()
    return read_conditions([{"name": "segmenter_classes", "kind": "labels", "classes": entries}])[0].classes


def _check_latent(manifest: BackboneManifest) -> None:
    grid, latent = manifest.grid.shape, manifest.latent
    if math.prod(grid) > MOST_VOXELS or math.prod(latent.shape) > MOST_VOXELS:
        _refuse(f"The grid {grid} or the latent {latent.shape} has more than {MOST_VOXELS:,} values.")
    if manifest.family == FAMILY and any(image % size for image, size in zip(grid, latent.shape[1:], strict=True)):
        _refuse(f"The grid {grid} is no whole multiple of the latent's sizes {latent.shape[1:]}.")
    if any(size % latent.packing for size in latent.shape[1:]):
        _refuse(f"The latent's sizes {latent.shape[1:]} cannot be packed by {latent.packing}.")
    if latent.whitened != ("whitening" in manifest.files):
        _refuse("A whitened latent needs a file for “whitening”, and only a whitened latent has one.")
    if latent.atlas and not latent.whitened:
        _refuse("A denoiser can only be shown the mean latent (“atlas”) where the latent is whitened with it.")


def _check_segmenter(manifest: BackboneManifest) -> None:
    parts = {
        "file": "segmenter" in manifest.files,
        "network": "segmenter" in manifest.networks,
        "list of classes": bool(manifest.segmenter_classes),
    }
    if any(parts.values()) and not all(parts.values()):
        missing = ", ".join(part for part, there in parts.items() if not there)
        _refuse(f"A segmenter needs a file, a network and a list of classes; missing: {missing}.")


def _refuse_negative(options: Any, where: str, source: str) -> None:
    """No network has a size below 0, though some are built with one and fail when they are used."""
    if isinstance(options, Mapping):
        for name, value in options.items():
            _refuse_negative(value, f"{where}.{name}", source)
    elif isinstance(options, list):
        for index, value in enumerate(options):
            _refuse_negative(value, f"{where}[{index}]", source)
    elif isinstance(options, (int, float)) and options < 0:
        raise VcmError(Code.PACK_INVALID, f"In {source}, “{where}” must be at least 0, not {options}.")


def _refuse_escape(folder: Path, file: str, source: str) -> None:
    if not (folder / file).resolve().is_relative_to(folder.resolve()):
        raise VcmError(
            Code.PACK_INVALID,
            f"{source} names the file {file}, which leads out of the pack's folder.",
            "A pack's files must lie inside its own folder; get the pack again from its source.",
        )


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            _refuse(f"Among {what}, {name} stands twice.")
        seen.add(name)


def _refuse(sentence: str) -> None:
    raise VcmError(Code.PACK_INVALID, sentence)
