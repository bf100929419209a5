"""What the panel shows of a model: the engine's own specifications, with words for a user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _
from vcm.anatomy.structures import LESION, SEGMENTER_CLASSES, cohort_labels
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.completable import completes, labels_of
from vcm.conditions.condition import ClassSpec, ConditionSpec, Kind
from vcm.core.grid import Grid
from vcm.core.plain_text import capital

READY, BROKEN, AVAILABLE = "ready", "broken", "available"
EXPORTED_TITLE = "VCM:"
USUAL_STEPS = 20


@dataclass(frozen=True)
class ConditionInfo(ConditionSpec):
    """A spatial input of a control; `labelNames` are what the model's segmenter calls its labels."""

    labelNames: Mapping[int, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its name as a clinician reads it.

        >>> ConditionInfo("semantics", Kind.LABELS).title, ConditionInfo("deep_grey", Kind.MASK).title
        ('Tissue map', 'Deep grey')
        """
        if self.name == "semantics":
            return _("Tissue map")
        return capital(self.name.replace("_", " "))

    @property
    def isDrawn(self) -> bool:
        """Whether it is segments, and not an image."""
        return self.kind is not Kind.IMAGE

    @property
    def isSkull(self) -> bool:
        """Whether it is the image of the head without the brain, which can be made of a scan."""
        named = not self.preparer and "skull" in self.name.lower()
        return self.kind is Kind.IMAGE and (self.preparer == "head-latent" or named)

    def parts(self, entry: ClassSpec) -> tuple[str, ...]:
        """The names of the labels that one of its classes is made of: the segmenter's, else a cohort's by its name."""
        if entry.segmenter:
            return tuple(self.labelNames[value] for value in entry.segmenter if value in self.labelNames)
        return tuple(SEGMENTER_CLASSES[value][0] for value in cohort_labels(entry.name))

    def inWords(self) -> str:
        """What it is and what it takes.

        >>> ConditionInfo("ventricles", Kind.MASK).inWords(), ConditionInfo("skull", Kind.IMAGE).inWords()
        ('ventricles (mask)', 'skull (image)')
        >>> ConditionInfo("tissues", Kind.LABELS, (ClassSpec(1, "grey"), ClassSpec(2, "white"))).inWords()
        'tissues (2 structures)'
        """
        kinds = {
            Kind.MASK: _("{name} (mask)"),
            Kind.LABELS: _("{name} ({count} structures)"),
            Kind.IMAGE: _("{name} (image)"),
        }
        name = self.title[:1].lower() + self.title[1:]
        return kinds[self.kind].format(name=name, count=len(self.classes))


def defaultValue(attribute: AttributeSpec) -> float | str:
    """The default of an attribute in human units, a choice, or the network's number where no scale is known."""
    human = attribute.to_human(attribute.default)
    return attribute.default if human is None else human


def usableValue(attribute: AttributeSpec, value: float | str | None) -> float | str:
    """A value that the scene remembers, or the default where there is none or the model has no such choice.

    >>> spec = AttributeSpec("class", "Class", choices={"T1w": 0.0, "T2w": 1.0}, default=1.0, role="contrast")
    >>> [usableValue(spec, value) for value in ("T1w", "SWI", "all", None)]
    ['T1w', 'T2w', 'all', 'T2w']
    >>> usableValue(AttributeSpec("age", "Age", low=20.0, high=80.0), "T1w")
    50.0
    """
    if attribute.choices:
        known = value is not None and (value in attribute.choices or attribute.is_all(value))
    else:  # a model of before may have had choices for what is a number here
        known = isinstance(value, (int, float))
    return value if known and value is not None else defaultValue(attribute)


@dataclass(frozen=True)
class ControlInfo:
    """A control for a pack; with `subsets` it takes any part of its conditions, else all of them."""

    name: str
    givenTitle: str
    conditions: tuple[ConditionInfo, ...]
    subsets: bool
    trained: bool = True

    @property
    def title(self) -> str:
        """What an image made with it follows; the title that its maker gave it, unless the exporter wrote that.

        >>> brain, ventricles = ConditionInfo("brain", Kind.MASK), ConditionInfo("ventricles", Kind.MASK)
        >>> ControlInfo("a", "VCM: brain and ventricles", (brain, ventricles), True).title
        'Brain, ventricles'
        >>> ControlInfo("b", "Lesions of the white matter", (brain,), False).title
        'Lesions of the white matter'
        """
        if self.givenTitle and not self.givenTitle.startswith(EXPORTED_TITLE):
            return self.givenTitle
        words = ", ".join(condition.title.lower() for condition in self.conditions)
        return capital(words)

    def takes(self, names: Iterable[str]) -> bool:
        """Whether it can be steered by exactly these conditions."""
        wanted, own = set(names), {condition.name for condition in self.conditions}
        return wanted <= own and (self.subsets or wanted == own)

    @property
    def simplicity(self) -> tuple[bool, int, bool, str]:
        """What sorts controls: trained ones first, then those of few conditions, then those of masks alone; lesions,
        which no head has of itself, come last among those."""
        kinds = {condition.kind for condition in self.conditions}
        drawn = any(labels_of(condition) - {LESION} for condition in self.conditions if condition.isDrawn)
        return (not self.trained, len(self.conditions), kinds != {Kind.MASK} or not drawn, self.name)

    def completes(self, names: Iterable[str]) -> bool:
        """Whether it takes more of a head that a layout completes than these conditions of its own: others, or the rest
        of a label map. Else another control may take its place."""
        given = set(names)
        return completes(self, [condition for condition in self.conditions if condition.name in given])

    @property
    def free(self) -> bool:
        """Whether the user may leave out some of its conditions."""
        return self.subsets and len(self.conditions) > 1

    def inWords(self) -> str:
        """What it takes, in a sentence.

        >>> skull, brain = ConditionInfo("skull", Kind.IMAGE), ConditionInfo("brain", Kind.MASK)
        >>> ControlInfo("a", "A", (brain, skull), True).inWords()
        'Takes any of: brain (mask), skull (image).'
        """
        names = ", ".join(condition.inWords() for condition in self.conditions)
        if len(self.conditions) == 1:
            return _("Takes {names}.").format(names=names)
        words = _("Takes any of: {names}.") if self.subsets else _("Takes all of: {names}.")
        return words.format(names=names)


@dataclass(frozen=True)
class PackInfo:
    """A model as the panel shows it: `state` is `ready`, `broken` or `available` from elsewhere, `words` say more.

    `conditions` are those of all its controls together; `grid` is None unless the pack is here and readable. With
    `hasTypicalHead` scans can be registered to it. `sampling` is its usual sampler and number of steps. With
    `hasLayout` what is drawn can be completed to a whole head.
    """

    name: str
    title: str
    state: str
    words: str
    attributes: tuple[AttributeSpec, ...] = ()
    grid: Grid | None = None
    controls: tuple[ControlInfo, ...] = ()
    hasSegmenter: bool = False
    folder: Path | None = None
    hasTypicalHead: bool = False
    sizeBytes: int = 0
    licence: str = ""
    contrast: str = ""
    sampling: tuple[str, int] = ("dpm++", USUAL_STEPS)
    hasLayout: bool = False

    @property
    def scan(self) -> str:
        """What its images are called: a “T1w image”; where the contrast is not known an “image”."""
        return _("{contrast} image").format(contrast=self.contrast).strip()

    @property
    def conditions(self) -> tuple[ConditionInfo, ...]:
        """Those of all its controls, each once."""
        first: dict[str, ConditionInfo] = {}
        for control in self.controls:
            for condition in control.conditions:
                first.setdefault(condition.name, condition)
        return tuple(first.values())

    def condition(self, name: str) -> ConditionInfo | None:
        """The condition of that name."""
        return next((entry for entry in self.conditions if entry.name == name), None)

    def control(self, name: str) -> ControlInfo | None:
        """The control of that name; it may also go by its name without the model's, as for the engine."""
        return next((c for c in self.controls if name in (c.name, c.name.removeprefix(f"{self.name}-"))), None)

    @property
    def defaultControl(self) -> ControlInfo | None:
        """The control to begin with: where a layout completes what is drawn, that by a map of tissues, in which any of
        them can be drawn; else a trained one with the fewest conditions, by a mask rather than by more."""
        if self.hasLayout and self.tissueControl is not None:
            return self.tissueControl
        return min(self.controls, key=lambda control: control.simplicity, default=None)

    @property
    def tissueControl(self) -> ControlInfo | None:
        """The control by a map of tissues, whose images look most like heads; None where there is no trained one."""
        maps = [c for c in self.controls if c.trained and [entry.kind for entry in c.conditions] == [Kind.LABELS]]
        return min(maps, key=lambda control: control.simplicity, default=None)

    def controlFor(self, names: Iterable[str]) -> ControlInfo | None:
        """The control the worker will use for these conditions, or None where no control takes them together."""
        names = list(names)
        able = [control for control in self.controls if control.takes(names)]
        return min(able, key=lambda c: (len(c.conditions), not c.trained, c.name), default=None)
