"""From a `manifest.json` to its typed form and back: checked against the schema and for what no schema can say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vcm.conditions.attributes import CONTRAST, AttributeSpec
from vcm.conditions.condition import ClassSpec, ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.hashing import hash_file
from vcm.core.typed_json import misfit
from vcm.models.process import PROCESSES
from vcm.outputs.atomic_files import write_text
from vcm.packs.manifest import (
    FAMILY,
    FILE_NAME,
    AnyManifest,
    BackboneManifest,
    BackboneReference,
    ControlManifest,
    IntensityScale,
    LatentSpec,
    LayoutManifest,
    Licence,
    PackFile,
    UsualSampling,
)
from vcm.packs.schema import check_schema, read_document
from vcm.packs.sizes import SizeRule

FORMAT = 1
SCHEMA = "manifest.schema.json"

MOST_VOXELS = 2**27
"""Voxels of a model's grid: 512³, five hundred times those of the pack that ships."""


def read_manifest(folder: Path) -> AnyManifest:
    """The checked manifest of the pack in `folder`. The files it names are not opened."""
    path = folder / FILE_NAME
    if not path.is_file():
        raise VcmError(
            Code.PACK_INVALID,
            f"The folder {folder} is no pack: it has no {FILE_NAME}.",
            "Give the folder that holds manifest.json and the .safetensors files.",
        )
    return parse_manifest(read_document(path), folder)


def write_manifest(folder: Path, content: Mapping[str, Any]) -> AnyManifest:
    """Check `content`, fill in the hash and size of its files and put it into `folder` in one step.

    The entries of `content["files"]` need a `path` only; the files must lie in `folder` already.
    """
    entries = {}
    for role, entry in content["files"].items():
        file = folder / entry["path"]
        if not file.is_file():
            raise VcmError(Code.FILE_MISSING, f"The pack's {role} should be {file}, but there is no such file.")
        entries[role] = {**entry, "sha256": hash_file(file), "size": file.stat().st_size}
    complete = {**content, "files": entries}
    manifest = parse_manifest(complete, folder)
    text = json.dumps(complete, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(folder / FILE_NAME, text + "\n")
    return manifest


def parse_manifest(content: Any, folder: Path) -> AnyManifest:
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
        manifest = _READERS[content["kind"]](content)
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
        segmenter_one_piece=content.get("segmenter_one_piece", False),
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
    _check_contrast(manifest)
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


def parse_layout(content: Mapping[str, Any]) -> LayoutManifest:
    """A layout's manifest from content that fits the schema."""
    grid = content["grid"]
    manifest = LayoutManifest(
        **_shared(content),
        backbones=tuple(content["backbones"]),
        grid=Grid(grid["shape"], grid["affine"]),
        latent_shape=tuple(int(n) for n in content["latent"]["shape"]),
        schedule=content["schedule"],
        attributes=tuple(AttributeSpec.from_dict(entry) for entry in content["attributes"]),
        classes=_segmenter_classes(content["classes"]),
        sampling=UsualSampling(**content.get("sampling", {"sampler": "dpm++", "steps": 12})),
    )
    _refuse_twice("the attributes", (spec.name for spec in manifest.attributes))
    if [c.value for c in manifest.classes] != list(range(1, len(manifest.classes) + 1)):
        _refuse("The classes of a layout must have the values 1, 2, 3, … in this order.")
    if manifest.process.guided != "epsilon":
        _refuse("A layout's schedule must be variance-preserving: linear, scaled_linear or cosine.")
    return manifest


_READERS: Mapping[str, Callable[[Mapping[str, Any]], AnyManifest]] = {
    "backbone": _backbone,
    "control": _control,
    "layout": parse_layout,
}


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


def _check_contrast(manifest: BackboneManifest) -> None:
    named = [spec for spec in manifest.attributes if spec.role == CONTRAST]
    if len(named) > 1:
        _refuse(f"Both {named[0].name} and {named[1].name} are said to name the contrast.")
    for spec in named:
        if len(set(spec.choices.values())) < max(1, len(spec.choices)):
            _refuse(
                f"The attribute {spec.name} names the contrast, so it needs choices, each with a number of its own."
            )


def _check_segmenter(manifest: BackboneManifest) -> None:
    parts = {
        "file": "segmenter" in manifest.files,
        "network": "segmenter" in manifest.networks,
        "list of classes": bool(manifest.segmenter_classes),
    }
    if any(parts.values()) and not all(parts.values()):
        missing = ", ".join(part for part, there in parts.items() if not there)
        _refuse(f"A segmenter needs a file, a network and a list of classes; missing: {missing}.")
    if "places" in manifest.files and "segmenter" not in manifest.files:
        _refuse("A file of “places” says where a segmenter finds structures, and there is no segmenter.")


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
