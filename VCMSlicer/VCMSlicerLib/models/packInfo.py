"""What the panel knows of a model: its grid, its scalars, its controls and what each of them takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _
from vcm.core.plain_text import capital

READY, BROKEN, AVAILABLE = "ready", "broken", "available"
EXPORTED_TITLE = "VCM:"


@dataclass(frozen=True)
class ClassInfo:
    """One structure of a mask or label map; `segmenter` are the labels of the pack's segmenter that together make it,
    `parts` their names."""

    value: int
    name: str
    segmenter: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConditionInfo:
    """One spatial input: `kind` is `mask`, `labels` or `image`."""

    name: str
    kind: str
    classes: tuple[ClassInfo, ...] = ()
    description: str = ""

    @property
    def title(self) -> str:
        """Its name as a clinician reads it.

        >>> ConditionInfo("semantics", "labels").title, ConditionInfo("deep_grey", "mask").title
        ('Tissue map', 'Deep grey')
        """
        if self.name == "semantics":
            return _("Tissue map")
        return capital(self.name.replace("_", " "))

    @property
    def isDrawn(self) -> bool:
        """Whether it is segments, and not an image."""
        return self.kind != "image"

    @property
    def isSkull(self) -> bool:
        """Whether it is the image of the head without the brain, which can be made of a T1w image."""
        return self.kind == "image" and "skull" in self.name.lower()

    def inWords(self) -> str:
        """What it is and what it takes.

        >>> ConditionInfo("ventricles", "mask").inWords(), ConditionInfo("skull", "image").inWords()
        ('ventricles (mask)', 'skull (image)')
        >>> ConditionInfo("tissues", "labels", (ClassInfo(1, "grey"), ClassInfo(2, "white"))).inWords()
        'tissues (2 structures)'
        """
        kinds = {"mask": _("{name} (mask)"), "labels": _("{name} ({count} structures)"), "image": _("{name} (image)")}
        name = self.title[:1].lower() + self.title[1:]
        return kinds[self.kind].format(name=name, count=len(self.classes))


@dataclass(frozen=True)
class AttributeInfo:
    """One scalar input: `low`–`high` in `unit`, or one of `choices`; without either only 0–1 can be given.

    `default` is the network's own number between 0 and 1; `structures` are the segmenter labels it measures.
    """

    name: str
    title: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    default: float = 0.5
    structures: tuple[int, ...] = ()

    @property
    def defaultValue(self) -> float | str:
        """The default in human units, a choice, or the raw number where no scale is known."""
        if self.choices:
            return self.choices[min(round(self.default), len(self.choices) - 1)]
        if self.low is None or self.high is None:
            return self.default
        return self.low + self.default * (self.high - self.low)


@dataclass(frozen=True)
class GridInfo:
    """Voxel shape (i, j, k) and affine from voxel index to RAS millimetres, row by row."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]


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

        >>> brain, ventricles = ConditionInfo("brain", "mask"), ConditionInfo("ventricles", "mask")
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
        """What sorts controls: trained ones first, then those of few conditions, then those of masks alone."""
        kinds = {condition.kind for condition in self.conditions}
        return (not self.trained, len(self.conditions), kinds != {"mask"}, self.name)

    @property
    def free(self) -> bool:
        """Whether the user may leave out some of its conditions."""
        return self.subsets and len(self.conditions) > 1

    def inWords(self) -> str:
        """What it takes, in a sentence.

        >>> skull, brain = ConditionInfo("skull", "image"), ConditionInfo("brain", "mask")
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
    `hasTypicalHead` scans can be registered to it.
    """

    name: str
    title: str
    state: str
    words: str
    conditions: tuple[ConditionInfo, ...] = ()
    attributes: tuple[AttributeInfo, ...] = ()
    grid: GridInfo | None = None
    controls: tuple[ControlInfo, ...] = ()
    segmenterClasses: tuple[ClassInfo, ...] = ()
    folder: Path | None = None
    hasTypicalHead: bool = False
    sizeBytes: int = 0
    licence: str = ""
    page: str = ""

    @property
    def hasSegmenter(self) -> bool:
        """Whether it can turn a T1w image into structures."""
        return bool(self.segmenterClasses)

    def condition(self, name: str) -> ConditionInfo | None:
        """The condition of that name."""
        return next((entry for entry in self.conditions if entry.name == name), None)

    def control(self, name: str) -> ControlInfo | None:
        """The control of that name; it may also go by its name without the model's, as for the engine."""
        return next((c for c in self.controls if name in (c.name, c.name.removeprefix(f"{self.name}-"))), None)

    @property
    def defaultControl(self) -> ControlInfo | None:
        """The control to begin with: trained, with the fewest conditions, by a mask rather than by more."""
        return min(self.controls, key=lambda control: control.simplicity, default=None)

    @property
    def tissueControl(self) -> ControlInfo | None:
        """The control by a map of tissues, whose images look most like heads; None where there is no trained one."""
        maps = [c for c in self.controls if c.trained and [entry.kind for entry in c.conditions] == ["labels"]]
        return min(maps, key=lambda control: control.simplicity, default=None)

    def controlFor(self, names: Iterable[str]) -> ControlInfo | None:
        """The control the worker will use for these conditions, or None where no control takes them together."""
        names = list(names)
        able = [control for control in self.controls if control.takes(names)]
        return min(able, key=lambda c: (len(c.conditions), not c.trained, c.name), default=None)
