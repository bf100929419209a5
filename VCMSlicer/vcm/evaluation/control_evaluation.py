"""`vcm evaluate PACK --cases COHORT`: a control on the cases of a cohort, beside its twin and the reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.cohort.case_conditions import CONDITION_SPECS, condition_spec
from vcm.cohort.contrasts import Contrasts, in_contrasts
from vcm.cohort.files import CaseEntry, read_cases
from vcm.conditions.completable import completes
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.progress import OnProgress, ProgressMeter
from vcm.core.typed_json import as_json
from vcm.core.volume import Volume
from vcm.evaluation.case_sampler import CaseSampler
from vcm.evaluation.evaluated_case import EvaluatedCase, fingerprint, read_case, require_known
from vcm.evaluation.measures.cases import CaseMeasurer, Features
from vcm.evaluation.measures.feature_networks import FeatureNetworks
from vcm.evaluation.measures.measurement import CONTROLLED, RECONSTRUCTION, UNCONTROLLED, Made, Measurement
from vcm.evaluation.measures.segmenter_features import WatchedSegmenter
from vcm.evaluation.result_store import CaseResult, ResultStore
from vcm.evaluation.summary import REFERENCE, SummaryRow, summarise
from vcm.judging.segmentation import PackSegmenter, Segmenter, choose_segmenter
from vcm.models.loading import scales_whole_scans
from vcm.packs.manifest import ControlManifest
from vcm.packs.store import Pack, find_pack
from vcm.reporting.charts import need_matplotlib
from vcm.runs.completing import completed_for, load_layout, measured_on

if TYPE_CHECKING:
    from vcm.sampling.generator import Generator

FORMAT = 1
"""Raised when what is measured changes, so that an old folder is not mixed with new numbers."""


@dataclass(frozen=True)
class Asked:
    """The sets of conditions that are given, and all that is read of a case and measured for them."""

    sets: Sequence[tuple[str, ...]]
    specs: tuple[ConditionSpec, ...]


@dataclass(frozen=True)
class CaseOptions:
    """How a control is evaluated. Head n of a cohort starts from the noise of `seed` + n, in all contrasts.

    With a `layout` the control is given what that makes of each set of conditions, which need not be its own.
    """

    count: int | None = None
    subsets: str = "all"
    seed: int = 0
    steps: int | None = None
    segmenter: str = "auto"
    features: Mapping[str, Path] = field(default_factory=dict)
    keep_images: bool = False
    pictured: int = 4
    contrasts: Contrasts = field(default_factory=dict)
    layout: str = ""

    def cases(self, cohort: Path) -> list[CaseEntry]:
        """The cases of a cohort that are evaluated."""
        return in_contrasts(read_cases(cohort)[: self.count], self.contrasts)

    def asked(self, manifest: ControlManifest) -> Asked:
        """What a control is evaluated with; all of its own conditions are measured, whichever are given."""
        if self.layout:
            return _completed_sets(manifest, self.subsets)
        return Asked(condition_sets(manifest, self.subsets), manifest.conditions)

    @property
    def heads_apart(self) -> int:
        """How many cases in a row are of one head."""
        return max(1, len(self.contrasts))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came out: results in the cohort's order, their summary, and the cases left out with the reason."""

    store: ResultStore
    every: tuple[Made, ...]
    results: tuple[CaseResult, ...]
    rows: tuple[SummaryRow, ...]
    left_out: Mapping[str, str]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationListeners:
    """Callbacks of an evaluation."""

    progress: OnProgress | None = None
    words: Callable[[str], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


class ControlEvaluation:
    """A control and its backbone, loaded, with all that is needed to measure any case of a cohort."""

    def __init__(
        self,
        backbone: Pack,
        control: Pack,
        generator: Generator,
        options: CaseOptions,
        listeners: EvaluationListeners | None = None,
    ) -> None:
        self.manifest = control.control
        self.options, self.listeners, self.generator = options, listeners or EvaluationListeners(), generator
        asked = options.asked(self.manifest)
        self.sets, self.specs = asked.sets, asked.specs
        self.layout = find_pack(options.layout) if options.layout else None
        self._networks = load_layout(self.layout, generator.runtime.device) if self.layout else None
        self.every = (
            *(Made(CONTROLLED, "+".join(names)) for names in self.sets),
            Made(UNCONTROLLED),
            Made(RECONSTRUCTION),
        )
        choice = choose_segmenter(backbone, options.segmenter, device=generator.runtime.device)
        self.listeners.words(choice.sentence)
        networks = FeatureNetworks.open(options.features, generator.runtime.device)
        self.measurer = CaseMeasurer(watched(choice.segmenter), networks)
        self.sampler = CaseSampler(generator, backbone.backbone.sampling, options.steps, self.listeners.cancelled)
        self.settings = self._settings(backbone, control, networks)
        self._whole_scans = scales_whole_scans(backbone.backbone)

    def read(self, entry: CaseEntry) -> EvaluatedCase:
        """A case on the backbone's Grid, its image in the intensities that the backbone knows."""
        return read_case(entry, self.specs, self.generator.backbone.grid, whole_scans=self._whole_scans)

    def run(self, cohort: Path, out: Path) -> Evaluation:
        """Measure every case that is not measured yet; each is kept as soon as it is finished."""
        entries = self.options.cases(cohort)
        store = ResultStore.open(out, {**self.settings, "cases": cohort.resolve().name})
        found = {entry.name: self._finished(store, n, entry) for n, entry in enumerate(entries)}
        waiting = [(n, entry) for n, entry in enumerate(entries) if found[entry.name] is None]
        if len(waiting) < len(entries):
            self.listeners.words(f"{len(entries) - len(waiting)} of {len(entries)} cases were measured before")
        meter = ProgressMeter([("image", 1.0, len(self.every) * len(waiting))], self.listeners.progress)
        left_out = {}
        for number, entry in waiting:
            inputs = fingerprint(entry, self.specs)
            try:
                case = self.read(entry)
            except VcmError as error:
                left_out[entry.name] = str(error)
                self.listeners.words(f"case {entry.name} is left out: {error}")
                continue
            found[entry.name] = result = self._measure(store, number, case, meter)
            store.save(result, inputs)
        results = tuple(result for result in found.values() if result is not None)
        if not results:
            name, reason = next(iter(left_out.items()))
            raise VcmError(Code.FILE_UNREADABLE, f"No case could be measured. {name}: {reason}")
        return Evaluation(store, self.every, results, tuple(summarise(results, self.every)), left_out, self.settings)

    def _finished(self, store: ResultStore, number: int, entry: CaseEntry) -> CaseResult | None:
        result = store.load(entry.name, fingerprint(entry, self.specs))
        kept = [made for made in self.every if self._kept(number, made)]
        return result if result and store.has_images(entry.name, kept) else None

    def _measure(self, store: ResultStore, number: int, case: EvaluatedCase, meter: ProgressMeter) -> CaseResult:
        features = _named(REFERENCE, self.measurer.reference_features(case))
        rows: list[Measurement] = []
        for made, image in self._images(number, case):
            measured = self.measurer.measure(image, case, made)
            rows += measured.measurements
            features |= _named(made.key, measured.features)
            if self._kept(number, made):
                store.keep_image(case.name, made, image)
            meter.advance("image")
        return CaseResult(case.name, tuple(rows), features)

    def _images(self, number: int, case: EvaluatedCase) -> Iterator[tuple[Made, Volume]]:
        seed = self.options.seed + number // self.options.heads_apart
        for made, names in zip(self.every, self.sets, strict=False):
            given = [condition for condition in case.conditions if condition.spec.name in names]
            taken, attributes = self._completed(given, case.attributes, seed)
            yield made, self.sampler.sample(attributes, seed, taken)
        yield Made(UNCONTROLLED), self.sampler.sample(case.attributes, seed)
        yield Made(RECONSTRUCTION), self.sampler.reconstruct(case.image)

    def _completed(
        self, given: Sequence[Condition], attributes: Mapping[str, float], seed: int
    ) -> tuple[Sequence[Condition], Mapping[str, float]]:
        """What the control takes of the head that the layout forms around the conditions, and the attributes, those
        that the case does not say measured on that head; without a layout, these."""
        if self.layout is None or self._networks is None:
            return given, attributes
        layout, grid, values = self.layout.layout, self.generator.backbone.grid, self.sampler.resolved(attributes)
        head, taken = completed_for(self.manifest, self._networks, layout, given, grid, seed=seed, values=values)
        return taken, {value.spec.name: value.raw for value in measured_on(head, values)}

    def _kept(self, number: int, made: Made) -> bool:
        shown = made.images != CONTROLLED or made == self.every[0]
        return self.options.keep_images or (shown and number < self.options.pictured)

    def _settings(self, backbone: Pack, control: Pack, networks: FeatureNetworks) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "backbone": backbone.name,
            "control": control.name,
            "files": {
                f"{pack.name}/{role}": file.sha256
                for pack in (backbone, control, *([self.layout] if self.layout else []))
                for role, file in pack.manifest.files.items()
            },
            "conditions": [made.conditions for made in self.every if made.conditions],
            "seed": self.options.seed,
            **self.sampler.settings,
            "device": self.generator.runtime.device.type,
            "precision": self.generator.runtime.precision,
            "segmenter": self.measurer.segmenter.name if self.measurer.segmenter else "none",
            "features": dict(networks.hashes),
            **({"layout": self.layout.name} if self.layout else {}),
            **({"contrasts": as_json(self.options.contrasts)} if self.options.contrasts else {}),
        }


def refuse_early(control: Pack, options: CaseOptions, cohort: Path) -> None:
    """Refuse impossible requests before any weights are loaded."""
    need_matplotlib()
    entries = read_cases(cohort)
    asked = options.asked(control.control)
    require_known(asked.specs, control.name, entries)
    if options.layout:
        find_pack(options.layout).layout  # noqa: B018 - refuses another pack in a sentence
        _refuse_what_is_not_completed(control, asked)
    if not entries:
        raise VcmError(Code.BAD_REQUEST, f"{cohort} lists no cases.", "Make some with: vcm cohort make --help")


def _refuse_what_is_not_completed(control: Pack, asked: Asked) -> None:
    specs = {spec.name: spec for spec in asked.specs}
    for names in asked.sets:
        if not completes(control.control, [specs[name] for name in names]):
            raise VcmError(
                Code.BAD_REQUEST,
                f"A layout has nothing to add to {'+'.join(names)} that {control.name} takes.",
                "Give structures that a control by a label map shows, such as --subsets ventricles.",
            )


def _completed_sets(manifest: ControlManifest, subsets: str) -> Asked:
    """Any conditions of a cohort's, which a layout completes to what the control takes; only those are read."""
    own = {spec.name: spec for spec in manifest.conditions}
    known = {name: own.get(name) or condition_spec(name) for name in (*own, *CONDITION_SPECS)}
    if subsets in ("all", "full"):
        raise VcmError(
            Code.BAD_REQUEST,
            "With a layout it must be said what is given, for the rest is completed.",
            f"Name some of {', '.join(known)}: --subsets ventricles, or sets such as ventricles+brain,ventricles.",
        )
    sets = list(dict.fromkeys(_named_sets(subsets, tuple(known), "Cases have")))
    return Asked(sets, tuple(known[name] for name in dict.fromkeys(chain.from_iterable(sets))))


def condition_sets(manifest: ControlManifest, subsets: str) -> list[tuple[str, ...]]:
    """The sets of a control's conditions that are given: `full`, `all` (full, then each alone), or those named by
    `a+b,c`."""
    names = tuple(spec.name for spec in manifest.conditions)
    singles = [(name,) for name in names] if manifest.subsets and len(names) > 1 else []
    if subsets in ("all", "full"):
        return [names, *singles] if subsets == "all" else [names]
    sets = []
    for given in _named_sets(subsets, names, f"{manifest.name} takes"):
        if given != names and not manifest.subsets:
            raise VcmError(Code.BAD_REQUEST, f"{manifest.name} needs all of its conditions: {', '.join(names)}.")
        sets.append(given)
    return list(dict.fromkeys(sets))


def _named_sets(subsets: str, names: Sequence[str], offer: str) -> Iterator[tuple[str, ...]]:
    """The sets that `a+b,c` names, each in the order of `names`; a refusal begins with `offer`."""
    for text in subsets.split(","):
        given = [part.strip() for part in text.split("+")]
        unknown = [name for name in given if name not in names]
        if unknown:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{offer} {', '.join(names)}; --subsets names {', '.join(unknown)}.",
                "Write all, full, or sets such as ventricles+brain,ventricles.",
            )
        yield tuple(name for name in names if name in given)


def watched(segmenter: Segmenter | None) -> Segmenter | WatchedSegmenter | None:
    """A pack's own segmenter, watched for its features; any other as it is."""
    return WatchedSegmenter(segmenter) if isinstance(segmenter, PackSegmenter) else segmenter


def _named(image: str, features: Features) -> dict[str, Any]:
    return {f"{image}/{measure}": array for measure, array in features.items()}
