"""Whether a layout completes what is drawn, and which control is then steered by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vcm.anatomy.structures import LESION, cohort_labels
from vcm.conditions.completable import completes, is_completed_unasked, is_drawable, means_the_same
from vcm.conditions.condition import Condition, Kind
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
    given = [specs[file.name] for file in job.conditions]
    if job.layout == OFF or (job.layout == AUTO and not is_completed_unasked(given)):
        return None, None
    pack = find_pack(job.layout) if job.layout != AUTO else next(iter(layouts_for(backbone)), None)
    if pack is None:
        return None, None
    pack.layout  # noqa: B018 - refuses another pack in a sentence
    own = [control] if control is not None else []
    free = job.control is None or job.control_may_give_way
    candidates = [*own, *(controls_for(backbone) if free else ())]
    able = [c for c in candidates if completes(c.control, given)]
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
    masks = [set(cohort_labels(c.name, c.segmenter)) for spec in control.conditions for c in spec.classes]
    return () if {LESION} in masks else (LESION,)


def _breadth(pack: Pack) -> int:
    """How many structures a control shows."""
    return sum(len(spec.classes) for spec in pack.control.conditions if is_drawable(spec))


def _is_plain(file: ConditionFile) -> bool:
    return (file.strength, file.start, file.end, file.region) == (1.0, 0.0, 1.0, None)
