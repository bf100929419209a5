"""`vcm evaluate --images A --references B`: two folders of volumes, pair by pair where names match, and as sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vcm.core.errors import Code, VcmError
from vcm.core.hashing import hash_file
from vcm.core.progress import ProgressMeter
from vcm.core.volume import Volume
from vcm.evaluation.control_evaluation import FORMAT, EvaluationListeners, watched
from vcm.evaluation.measures.feature_networks import FeatureNetworks, why_not
from vcm.evaluation.measures.images import image_measures
from vcm.evaluation.measures.measurement import WHOLE_IMAGE, Made, Measurement
from vcm.evaluation.measures.segmenter_features import WatchedSegmenter
from vcm.evaluation.result_store import CaseResult, ResultStore
from vcm.evaluation.summary import REFERENCE, SummaryRow, summarise
from vcm.evaluation.tables import SUMMARY_WORDS, summary_words, write_cases, write_data, write_summary
from vcm.judging.segmentation import choose_segmenter
from vcm.outputs.atomic_files import write_text
from vcm.packs.store import Pack
from vcm.volumes.image_refusals import READABLE
from vcm.volumes.volume_files import read_volume

IMAGES = "images"


@dataclass(frozen=True)
class SetOptions:
    """`segmenter` is who gives features that need no download; the networks are files."""

    features: Mapping[str, Path] = field(default_factory=dict)
    device: str = "cpu"


def evaluate_sets(
    images: Path,
    references: Path,
    out: Path,
    pack: Pack,
    options: SetOptions,
    listeners: EvaluationListeners | None = None,
) -> dict[str, Any]:
    """Measure, write the tables into `out` and give the summary as data; a finished file is not measured again."""
    listeners = listeners or EvaluationListeners()
    ours, theirs = volumes_of(images), volumes_of(references)
    choice = choose_segmenter(pack, "pack" if "segmenter" in pack.backbone.files else "auto", device=options.device)
    segmenter = watched(choice.segmenter)
    networks = FeatureNetworks.open(options.features, options.device)
    settings = {
        "format": FORMAT,
        "segmenter": segmenter.name if isinstance(segmenter, WatchedSegmenter) else "none",
        "features": dict(networks.hashes),
    }
    store = ResultStore.open(out, settings)
    pairs = sorted(set(ours) & set(theirs))
    listeners.words(f"{len(ours)} images, {len(theirs)} references, {len(pairs)} pairs by name")
    measurer = _SetMeasurer(segmenter if isinstance(segmenter, WatchedSegmenter) else None, networks)
    jobs = [(n, ours.get(n), theirs.get(n)) for n in sorted({*ours, *theirs})]
    meter = ProgressMeter([("file", 1.0, len(jobs))], listeners.progress)
    results, left_out = [], {}
    for name, image, reference in jobs:
        inputs = " ".join(hash_file(path) if path else "-" for path in (image, reference))
        result = store.load(name, inputs)
        if result is None:
            try:
                result = measurer.measure(name, image, reference)
            except VcmError as error:
                left_out[name] = str(error)
                listeners.words(f"{name} is left out: {error}")
                continue
            store.save(result, inputs)
        results.append(result)
        meter.advance("file")
    if not results:
        name, reason = next(iter(left_out.items()))
        raise VcmError(Code.FILE_UNREADABLE, f"No volume could be measured. {name}: {reason}")
    return _write(store, f"{images.resolve().name} against {references.resolve().name}", results, left_out, settings)


def volumes_of(folder: Path) -> dict[str, Path]:
    """The volumes of a folder by their name without its ending."""
    if not folder.is_dir():
        raise VcmError(Code.FILE_MISSING, f"There is no folder {folder}.")
    files = {
        p.name.split(".")[0] if p.name.endswith(".nii.gz") else p.stem: p
        for p in sorted(folder.iterdir())
        if p.is_file() and p.name.endswith(READABLE)
    }
    if not files:
        raise VcmError(Code.FILE_MISSING, f"{folder} holds no volumes ({', '.join(READABLE)}).")
    return files


@dataclass(frozen=True, eq=False)
class _SetMeasurer:
    segmenter: WatchedSegmenter | None
    networks: FeatureNetworks

    def measure(self, name: str, image_path: Path | None, reference_path: Path | None) -> CaseResult:
        image, reference = (_read(path) if path else None for path in (image_path, reference_path))
        rows: list[Measurement] = []
        if image and reference:
            rows = self._pair(name, image, reference)
        features: dict[str, Any] = {}
        for key, volume in ((Made(IMAGES).key, image), (REFERENCE, reference)):
            if volume:
                features |= {f"{key}/{measure}": array for measure, array in self._features(volume).items()}
        return CaseResult(name, tuple(rows), features)

    def _pair(self, name: str, image: Volume, reference: Volume) -> list[Measurement]:
        if not image.grid.same_as(reference.grid):
            raise VcmError(
                Code.GEOMETRY,
                f"The two volumes called {name} lie on different grids: {image.grid.shape} and "
                f"{reference.grid.shape}, {image.grid.orientation} and {reference.grid.orientation}.",
                "Bring both onto one grid, or give them different names to compare the folders as sets alone.",
            )
        found = image_measures(image.array, reference.array)
        lpips = self.networks.lpips(image, reference)
        found["lpips"] = lpips, why_not("lpips") if lpips is None else ""
        return [Measurement(IMAGES, "", WHOLE_IMAGE, m, value, remark) for m, (value, remark) in found.items()]

    def _features(self, volume: Volume) -> dict[str, Any]:
        features: dict[str, Any] = self.networks.features(volume) if self.networks.sees_sets else {}
        if self.segmenter:
            features["frechet_segmenter"] = self.segmenter.segment_with_features(volume)[1]
        return features


def _read(path: Path) -> Volume:
    volume = read_volume(path)
    low, high = float(volume.array.min()), float(volume.array.max())
    if low < -0.5 or high > 1.5:
        raise VcmError(
            Code.CONDITION,
            f"{path.name} holds intensities from {low:g} to {high:g}; volumes are compared in 0–1.",
            "Scale all volumes of both folders in the same way.",
        )
    return Volume(volume.array.astype(np.float32), volume.grid)


def _write(
    store: ResultStore, title: str, results: list[CaseResult], left_out: Mapping[str, str], settings: Mapping[str, Any]
) -> dict[str, Any]:
    rows: list[SummaryRow] = summarise(results, [Made(IMAGES)])
    write_cases(store.folder, results)
    write_summary(store.folder, title, rows)
    paired = sum(bool(result.measurements) for result in results)
    facts = [f"{paired} pairs by name. Set measures count every volume of either folder."]
    write_text(store.folder / SUMMARY_WORDS, summary_words(title, facts, rows, left_out))
    return write_data(store.folder, {**settings, "pairs": paired, "left_out": dict(left_out)}, rows)
