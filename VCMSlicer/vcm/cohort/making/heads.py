"""Heads made from label maps: as many as wanted, each with its labels, skull image and attributes.

In the way of SynthSeg's generator (Billot et al., Medical Image Analysis 2023), with a warp that gives the lateral
ventricles any volume from 5 to 85 ml whatever the head they lie in. T1w-like, and T2- and FLAIR-like of the same head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from vcm.anatomy.structures import BRAIN, LESION, VENTRICLES, joint_ml
from vcm.cohort.making.contrasts import FURTHER_CONTRASTS, T1, Contrast, further_contrasts
from vcm.cohort.making.head_image import Blocks, Look, labels_of, millilitres, paint
from vcm.cohort.making.head_maps import Head
from vcm.cohort.making.head_shape import Shape, View, source_of
from vcm.cohort.making.label_maps import LabelMaps
from vcm.cohort.making.lesions import Lesions, require_lesion_labels
from vcm.conditions.attributes import AttributeSpec
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.volumes.orientation import grid_along, volume_along

WHOLE_HEAD = Grid(
    (88, 112, 88),
    [[-2.0, 0.0, 0.0, 87.0], [0.0, 2.0, 0.0, -125.5], [0.0, 0.0, 2.0, -75.5], [0.0, 0.0, 0.0, 1.0]],
)
"""2 mm, LAS: a head of MNI's size from the cerebellum's lower edge to the scalp, with room for larger ones."""

OWN_ATTRIBUTES = (
    AttributeSpec("sex", "Sex", choices={"F": 0.0, "M": 1.0}),
    AttributeSpec("age", "Age", "years", low=44, high=82),
    AttributeSpec("ventricular_volume", "Ventricular volume", "ml", low=5, high=85, structures=(VENTRICLES,)),
    AttributeSpec("brain_volume", "Brain volume", "ml", low=850, high=1450, structures=BRAIN),
)
"""What is known of every made head, on the scales that its sizes are drawn from."""

LESION_STREAM = 100
"""Lesions have randomness of their own, so that a case's head is the same with and without them."""


@dataclass(frozen=True, eq=False)
class Case:
    """One made head on the backbone's Grid.

    `image` holds intensities in 0–1, `labels` the segmenter's classes, `skull` the image without what lies inside the
    skull, `further` the images of other contrasts by name. `attributes` are raw (0–1). `ventricles_ml` and `brain_ml`
    are measured on the 1 mm parts of the voxels.
    """

    name: str
    head: str
    image: Volume
    labels: Volume
    skull: Volume
    attributes: Mapping[str, float]
    ventricles_ml: float
    brain_ml: float
    further: Mapping[str, Volume] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Volume]:
        """All volumes of the case by the names of their files."""
        return {"image": self.image, "labels": self.labels, "skull": self.skull, **self.further}


class CohortMaker:
    """Makes cases from label maps. The same seed and number make the same case, bit for bit, on the same device.

    `contrasts` names what is made beside T1. Each has its own randomness: a case is the same with and without them.
    `grid` is where the heads lie, twice as coarse as the label maps, whichever way its axes run; without it, on all of
    these. A share `lesions` of the heads is given lesions that its label map does not have. `attributes` are those of
    the backbone that is to learn from them.
    """

    def __init__(
        self,
        maps: LabelMaps,
        seed: int,
        device: str | torch.device = "cpu",
        contrasts: Iterable[str] = (),
        grid: Grid | None = None,
        lesions: float = 0.0,
        attributes: Iterable[AttributeSpec] = OWN_ATTRIBUTES,
    ) -> None:
        self.maps, self.seed = maps, seed
        self.grid, self.lesions, self.attributes = grid, lesions, tuple(attributes)
        if lesions:
            require_lesion_labels(maps.table)
        self.device = torch.device(device)
        self.contrasts = further_contrasts(contrasts)
        self._looks = {name: Contrast.of(maps.table, name) for name in (T1, *self.contrasts)}
        self._heads: dict[int, tuple[Head, View, Grid]] = {}

    def head_of(self, number: int) -> str:
        """The name of the label map that case `number` is made from."""
        return self.maps.files[number % len(self.maps.files)].name.split(".")[0]

    def prepare(self) -> None:
        """Make all label maps ready, which otherwise happens when each is first needed."""
        for number in range(len(self.maps.files)):
            self._head(number)

    @torch.no_grad()
    def make(self, number: int) -> Case:
        """Case `number`, from 0; the heads take turns."""
        rng = np.random.default_rng([self.seed, number])
        which = number % len(self.maps.files)
        head, view, grid = self._head(which)
        lender, *_ = self._head(int(rng.integers(len(self.maps.files))))
        sex, age = float(rng.integers(2)), float(rng.random())
        shape = Shape.draw(rng, sex, age)
        lesions = Lesions.draw(np.random.default_rng([self.seed, number, LESION_STREAM]), self.lesions)
        look = Look.draw(rng, self._looks[T1]).with_class(self.maps.table, LESION, lesions.brightness)
        fine = labels_of(head, source_of(shape, head, lender, view))
        blocks = Blocks.of(lesions.put_into(fine, self.maps.table))
        labels, counts = blocks.count_classes(self.maps.table)
        image = paint(look, blocks)
        made = {"image": image, "labels": labels}
        made["skull"] = torch.where(blocks.outside_skull(self.maps.table), image, 0.0)
        for name in self.contrasts:
            own = np.random.default_rng([self.seed, number, 1 + FURTHER_CONTRASTS.index(name)])
            made[name] = paint(Look.draw(own, self._looks[name]), blocks)
        volumes = {n: volume_along(Volume(v.cpu().numpy(), grid), self.grid or grid) for n, v in made.items()}
        ml = millilitres(counts.cpu())
        ventricles = ml[VENTRICLES]
        brain = joint_ml(BRAIN, ml)
        return Case(
            name=f"{number:05d}",
            head=self.head_of(number),
            image=volumes["image"],
            labels=volumes["labels"],
            skull=volumes["skull"],
            attributes=attributes(sex, age, ml, self.attributes),
            ventricles_ml=ventricles,
            brain_ml=brain,
            further={name: volumes[name] for name in self.contrasts},
        )

    def _head(self, number: int) -> tuple[Head, View, Grid]:
        if number not in self._heads:
            positions, whole = self.maps.read(number)
            grid = self.grid or whole.downsampled([n // 2 for n in whole.shape])
            grid = grid_along(grid, whole.orientation)
            view = View.on(grid, whole)
            self._heads[number] = Head.prepare(positions, self.maps.table, self.device, view.slices), view, grid
        return self._heads[number]


def attributes(sex: float, age: float, ml: Mapping[int, float], specs: Iterable[AttributeSpec]) -> dict[str, float]:
    """The raw attributes of a made head for a backbone: sex and age as they were drawn, volumes as they were measured.

    `ml` are the millilitres of the segmenter's classes. A volume without a scale takes that of `OWN_ATTRIBUTES`; what a
    made head does not have takes the backbone's default.

    >>> attributes(1.0, 0.5, {1: 800.0, 4: 37.0, 10: 3.0}, OWN_ATTRIBUTES[:3])
    {'sex': 1.0, 'age': 0.5, 'ventricular_volume': 0.4}
    """
    own = {spec.name: spec for spec in OWN_ATTRIBUTES}
    drawn = {"sex": "M" if sex else "F", "age": own["age"].to_human(age)}
    raw = {}
    for given in specs:
        spec = given if given.calibrated else own.get(given.name, given)
        value = drawn.get(spec.name)
        if spec.structures:
            value = joint_ml(spec.structures, ml)
        if isinstance(value, float) and spec.low is not None and spec.high is not None:
            value = float(np.clip(value, spec.low, spec.high))
        raw[spec.name] = spec.default if value is None else spec.to_raw(value)
    return raw
