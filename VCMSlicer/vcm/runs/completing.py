"""Samples of which each has a layout of its own: what is drawn, completed to a whole head from the Sample's seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vcm.anatomy.structures import cohort_labels, joint_ml
from vcm.conditions.attributes import AttributeSpec, AttributeValue
from vcm.conditions.completable import is_drawable, means_the_same
from vcm.conditions.condition import Condition, ConditionSpec, Kind
from vcm.conditions.contrasts import resolve_contrasts
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.progress import OnProgress, Progress
from vcm.core.volume import Volume
from vcm.models.layout.layout import Layout
from vcm.packs.manifest import ControlManifest, LayoutManifest
from vcm.packs.store import Pack
from vcm.runs.job import GenerateJob
from vcm.runs.layout_choice import LayoutChoice, hidden_labels
from vcm.sampling.completing import complete
from vcm.sampling.generator import Generator, OnPreview, stop_if
from vcm.sampling.request import GenerateRequest, Sample
from vcm.sampling.samplers import OnStep, SamplerStep

if TYPE_CHECKING:
    import torch

COMPLETING = "completing the head"
"""The stage in which a layout forms the rest of the head."""
SHARE = 0.1
"""About so much of a Sample's time it takes."""


@dataclass(frozen=True, eq=False)
class CompletedHead:
    """The label map of a whole head, and the attributes of its Sample that were measured on it."""

    volume: Volume
    attributes: tuple[AttributeValue, ...] = ()


@dataclass(frozen=True, eq=False)
class Completer:
    """Completes the conditions of a job's request, a Sample at a time."""

    choice: LayoutChoice
    backbone: Pack
    job: GenerateJob
    layout: Layout

    def samples(
        self,
        generator: Generator,
        request: GenerateRequest,
        on_progress: OnProgress | None = None,
        on_preview: OnPreview | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[Sample, CompletedHead]]:
        """The Samples of a request one by one. Each noise has a head of its own, which follows from seed + n and is the
        same in every contrast."""
        progress_of = _shared_out(on_progress, request.samples)
        variants = len(request.variants)
        for index in range(request.samples):
            told = progress_of(index)
            started = time.perf_counter()
            own, head = self.completed(request, index, _each_step(told, cancelled))
            seconds = {COMPLETING: time.perf_counter() - started}
            show = _numbered(on_preview, index * variants)
            for sample in generator.generate(own, _after_completing(told), show, cancelled):
                yield replace(sample, index=index, seconds={**seconds, **sample.seconds}), head
                seconds = {}

    def completed(
        self, request: GenerateRequest, index: int, on_step: OnStep | None = None
    ) -> tuple[GenerateRequest, CompletedHead]:
        """The request of one Sample, with what its control takes of the completed head; and this."""
        manifest, control, layout = self.backbone.backbone, self.choice.control.control, self.choice.pack.layout
        head, conditions = completed_for(
            control,
            self.layout,
            layout,
            request.conditions,
            manifest.grid,
            seed=request.seed + index,
            values=request.attributes,
            on_step=on_step,
        )
        whole = [condition for condition in request.conditions if condition.spec.kind is not Kind.LABELS]
        known = (*whole, *conditions)  # a label map may be drawn in part; what it became is among those taken
        attributes, _ = resolve_contrasts(manifest.attributes, self.job.attributes, self.job.raw_attributes, known)
        attributes = measured_on(head, attributes)
        noise = request.noise[index : index + 1] if request.noise is not None else None
        own = replace(
            request, conditions=conditions, attributes=attributes, seed=request.seed + index, samples=1, noise=noise
        )  # fmt: skip
        drawn = {value.spec.name: value for value in request.attributes}
        return own, CompletedHead(head, tuple(v for v in attributes if v.origin != drawn[v.spec.name].origin))


def load_layout(pack: Pack, device: torch.device) -> Layout:
    """The networks of a layout pack, where they compute."""
    from vcm.models.onednn import use_onednn

    layout = Layout.load(pack).to(device)
    if device.type == "cpu":
        use_onednn(layout)
    return layout


def completed_for(
    control: ControlManifest,
    layout: Layout,
    manifest: LayoutManifest,
    drawn: Sequence[Condition],
    grid: Grid,
    *,
    seed: int,
    values: Sequence[AttributeValue],
    on_step: OnStep | None = None,
) -> tuple[Volume, tuple[Condition, ...]]:
    """The head that a layout forms on `grid` around what was drawn, with attributes of which it is told those that the
    user has said; and what a control is given of that head."""
    head = complete(
        layout,
        manifest,
        drawn,
        grid,
        seed=seed,
        attributes=given_attributes(values, manifest.attributes),
        absent=hidden_labels(control),
        on_step=on_step,
    )
    return head, taken_of(head, control.conditions, drawn)


def taken_of(head: Volume, specs: Sequence[ConditionSpec], drawn: Sequence[Condition]) -> tuple[Condition, ...]:
    """What a control is given of a completed head: what was drawn or loaded for one of its conditions as it is, the
    rest from the head. A label map that was drawn in part is filled around that."""
    by_name = {condition.spec.name: condition for condition in drawn}
    taken = []
    for spec in specs:
        own = by_name.get(spec.name)
        if own is not None and not means_the_same(spec, own.spec):
            own = None  # its values are another control's; the head holds what was drawn
        if own is not None and spec.kind is not Kind.LABELS:
            taken.append(own)
        elif is_drawable(spec):
            array = _condition_array(head, spec)
            if own is not None:
                array = np.where(own.volume.array != 0, own.volume.array, array)
            volume = Volume(array, head.grid)
            # Its volumes are no longer those that were drawn.
            taken.append(replace(own, volume=volume, drawn_ml={}) if own is not None else Condition(spec, volume))
    return tuple(taken)


def measured_on(head: Volume, values: Iterable[AttributeValue]) -> tuple[AttributeValue, ...]:
    """The values, those that nothing determines yet measured on a completed head where that has their structures."""
    voxel_ml = head.grid.voxel_ml
    ml = {label: int(count) * voxel_ml for label, count in enumerate(np.bincount(head.array.ravel()))}
    return tuple(
        value.spec.following(joint_ml(value.spec.structures, ml), "the completed head")
        if value.origin == "default" and value.spec.structures and value.spec.low is not None
        and value.spec.high is not None
        else value
        for value in values
    )  # fmt: skip


def given_attributes(values: Sequence[AttributeValue], specs: Sequence[AttributeSpec]) -> dict[str, float]:
    """What the user has said of the subject, on the raw scale of a layout's attributes; what follows from conditions or
    is a backbone's default is left to the layout."""
    known, given = {spec.name: spec for spec in specs}, {}
    for value in values:
        spec, human = known.get(value.spec.name), value.spec.to_human(value.raw)
        if spec is None or human is None or not value.origin.startswith("given"):
            continue
        if isinstance(human, float) and spec.low is not None and spec.high is not None:
            least, most = sorted((spec.low, spec.high))
            human = min(max(human, least), most)
        with suppress(VcmError):  # what the layout has no word or scale for is left to it
            given[spec.name] = spec.to_raw(human)
    return given


def _condition_array(head: Volume, spec: ConditionSpec) -> np.ndarray:
    values = np.zeros(256, np.int32 if max(c.value for c in spec.classes) > 255 else np.uint8)
    for entry in spec.classes:
        values[list(cohort_labels(entry.name, entry.segmenter))] = 1 if spec.kind is Kind.MASK else entry.value
    return values[head.array]


def _shared_out(on_progress: OnProgress | None, samples: int) -> Callable[[int], OnProgress | None]:
    """For each Sample, its progress as a part of the whole."""
    started = time.monotonic()

    def of_sample(index: int) -> OnProgress | None:
        def tell(at: Progress) -> None:
            done = (index + at.fraction) / samples
            left = (time.monotonic() - started) * (1 - done) / done if at.fraction else None
            assert on_progress is not None
            on_progress(replace(at, fraction=done, seconds_left=left))

        return tell if on_progress else None

    return of_sample


def _each_step(told: OnProgress | None, cancelled: Callable[[], bool]) -> OnStep:
    """What hears each step of completing: it tells how far that is, and ends it where the run is cancelled."""
    if told:
        told(Progress(COMPLETING, 0, 1, 0.0, None))

    def step(at: SamplerStep) -> None:
        stop_if(cancelled)
        if told:
            told(Progress(COMPLETING, at.index, at.total, SHARE * at.index / at.total, None))

    return step


def _after_completing(told: OnProgress | None) -> OnProgress | None:
    return (lambda at: told(replace(at, fraction=SHARE + (1 - SHARE) * at.fraction))) if told else None


def _numbered(on_preview: OnPreview | None, first: int) -> OnPreview | None:
    return (lambda number, step, image: on_preview(first + number, step, image)) if on_preview else None
