"""Whether a layout completes what is drawn, and which control is then steered by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vcm.anatomy.structures import LESION, cohort_labels, show
from vcm.conditions.condition import ClassSpec, Condition, ConditionSpec, Kind
from vcm.core.findings import Finding, Level
from vcm.packs.manifest import ControlManifest
from vcm.packs.store import Pack, controls_for, find_pack, layouts_for
from vcm.runs.job import ConditionFile, GenerateJob

OFF, AUTO = "off", "auto"
NOT_COMPLETED = "NOT_COMPLETED"


@dataclass(frozen=True)
class LayoutChoice:
    """The layout that completes the head, and the control that is given all of it that it takes."""

    pack: Pack
    control: Pack
    backbone: Pack

    @property
    def words(self) -> str:
        """What it does."""
        named = self.backbone.name in self.pack.layout.backbones
        stranger = "" if named else f" It was not made for {self.backbone.name}."
        return f"The layout {self.pack.name} completes the head, which {self.control.name} follows.{stranger}"


def choose_layout(job: GenerateJob, backbone: Pack, control: Pack | None) -> tuple[LayoutChoice | None, Finding | None]:
    """The layout of a job whose conditions `control` takes, or None, with a finding where the user would expect one.

    A control that the user has not named, or that may give way, does so to the one that shows most of a head, if that
    can show what was drawn too: a mask of ventricles as a part of a label map. Unasked (`auto`) nothing is completed
    beside an image, which the layout does not look at, nor is it said where no control could take more.
    """
    specs = {spec.name: spec for spec in control.control.conditions} if control is not None else {}
    drawn = [specs[file.name] for file in job.conditions if specs[file.name].kind is not Kind.IMAGE]
    images = {file.name for file in job.conditions} - {spec.name for spec in drawn}
    if job.layout == OFF or (job.layout == AUTO and (images or not any(map(is_drawable, drawn)))):
        return None, None
    pack = find_pack(job.layout) if job.layout != AUTO else next(iter(layouts_for(backbone)), None)
    if pack is None:
        return None, None
    pack.layout  # noqa: B018 - refuses another pack in a sentence
    own = [control] if control is not None else []
    free = job.control is None or job.control_may_give_way
    candidates = [*own, *(controls_for(backbone) if free else ())]
    able = [c for c in candidates if completes(c.control, drawn, images)]
    plain = all(map(_is_plain, job.conditions))
    if not plain:
        able, others = [c for c in able if c in own], able
        if others and not able:
            return None, _not_completed(
                free,
                "a condition has a strength, a time window or a region of its own, which a completed head has not",
                "Leave them out, or switch the layout off for all images that are to be compared.",
            )
    if not able and job.layout == AUTO:
        return None, None
    if not able:
        takes = f"{control.name} takes only what is given" if control is not None else "no control takes label maps"
        return None, _not_completed(free, takes, "Choose a control that takes more, or switch the layout off.")
    best = min(able, key=lambda c: (bool(c.manifest.untrained), -_breadth(c), c.name))
    return LayoutChoice(pack, best, backbone), None


def is_whole(choice: LayoutChoice, drawn: Sequence[Condition]) -> bool:
    """Whether what was drawn leaves nothing to complete: all that the control shows, each class of a label map."""
    by_name = {condition.spec.name: condition for condition in drawn}
    specs = [spec for spec in choice.control.control.conditions if is_drawable(spec)]
    return all(
        (own := by_name.get(spec.name)) is not None
        and means_the_same(spec, own.spec)
        and (spec.kind is Kind.MASK or {c.value for c in spec.classes} <= set(np.unique(own.volume.array).tolist()))
        for spec in specs
    )


def _not_completed(unexpected: bool, why: str, remedy: str) -> Finding:
    level = Level.WARNING if unexpected else Level.NOTE
    return Finding(level, NOT_COMPLETED, "layout", f"The rest of the head is not completed: {why}.", remedy)


def hidden_labels(control: ControlManifest) -> tuple[int, ...]:
    """Labels that a completed head must not hold, as the control could not show them: lesions, where they count as the
    white matter that they lie in."""
    masks = [set(_labels(entry)) for spec in control.conditions for entry in spec.classes]
    return () if {LESION} in masks else (LESION,)


def is_drawable(spec: ConditionSpec) -> bool:
    """Whether a layout can make this condition: structures of a head, and nothing else."""
    return spec.kind is not Kind.IMAGE and bool(spec.classes) and all(map(_labels, spec.classes))


def means_the_same(own: ConditionSpec | None, drawn: ConditionSpec) -> bool:
    """Whether a condition of a control is what was drawn for another one's, its values meaning the same."""
    return own is not None and own.kind is drawn.kind and (own.kind is Kind.MASK or own.classes == drawn.classes)


def completes(manifest: ControlManifest, drawn: Sequence[ConditionSpec], images: Iterable[str]) -> bool:
    """Whether a control takes what is given, by name or as a part of what it shows, and something beside it."""
    own = {spec.name: spec for spec in manifest.conditions}
    given = {*images, *(spec.name for spec in drawn)}
    lacking = [spec for spec in manifest.conditions if spec.name not in given and not is_drawable(spec)]
    return (
        set(images) <= own.keys()
        and (manifest.subsets or not lacking)
        and all(means_the_same(own.get(spec.name), spec) or _shows(manifest, spec) for spec in drawn)
        and any(is_drawable(s) and (s.kind is Kind.LABELS or s.name not in given) for s in manifest.conditions)
    )


def _shows(manifest: ControlManifest, drawn: ConditionSpec) -> bool:
    """Whether what is drawn can be seen in the label maps that a control takes: made of classes that have their name
    from labels of it, as ventricles have, though the third and fourth may count among them."""
    wanted = {label for entry in drawn.classes for label in _labels(entry)}
    classes = [_labels(c) for spec in manifest.conditions if spec.kind is Kind.LABELS for c in spec.classes]
    return show(classes, wanted)


def _breadth(pack: Pack) -> int:
    """How many structures a control shows."""
    return sum(len(spec.classes) for spec in pack.control.conditions if is_drawable(spec))


def _labels(entry: ClassSpec) -> tuple[int, ...]:
    return cohort_labels(entry.name, entry.segmenter)


def _is_plain(file: ConditionFile) -> bool:
    return (file.strength, file.start, file.end, file.region) == (1.0, 0.0, 1.0, None)
