"""A head painted from its millimetres on any grid, with FreeSurfer's numbers: nothing in it mirrors anything."""

from functools import cache

import numpy as np
from phantoms import world_of
from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.cohort.scans.case import Intake
from vcm.cohort.scans.label_reading import LabelReading
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ClassSpec
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template

GRID = Grid((48, 56, 44), [[-4, 0, 0, 94.0], [0, 4, 0, -110.0], [0, 0, 4, -86.0], [0, 0, 0, 1]])

# Number: middle (RAS, mm) and half axes; later ones lie on top.
SHAPES = {
    24: ((0, -2, 2), (70, 88, 66)),
    3: ((-33, -3, 4), (31, 80, 58)), 42: ((32, -1, 4), (32, 78, 58)),
    2: ((-31, -4, 5), (23, 66, 46)), 41: ((31, 0, 5), (24, 63, 46)),
    4: ((-16, 6, 8), (9, 30, 14)), 43: ((14, -3, 10), (7, 24, 11)),
    10: ((-13, -16, -14), (9, 13, 8)), 49: ((13, -15, -14), (9, 13, 8)),
    16: ((2, -26, -38), (12, 13, 24)),
    17: ((-30, -22, -26), (6, 18, 7)), 53: ((31, -20, -26), (6, 17, 7)),
}  # fmt: skip
HEAD = ((0, 0, -4), (82, 100, 80))
NOSE = ((4, 96, -24), (14, 14, 20))
BRIGHTNESS = {
    0: 0,
    24: 60,
    3: 300,
    42: 300,
    2: 500,
    41: 500,
    4: 70,
    43: 70,
    10: 400,
    49: 400,
    16: 450,
    17: 290,
    53: 290,
}
SCALP = 350


def labels_on(grid, moved=None):
    """The label map on a grid; `moved` is a 4×4 by which the head was moved from its place."""
    world, labels = own_places(grid, moved), np.zeros(grid.shape, np.int16)
    for number, shape in SHAPES.items():
        labels[inside(world, shape)] = number
    return Volume(labels, grid)


def image_on(grid, moved=None, brain_only=False):
    """The T1w-like image on a grid, with a little noise."""
    world, labels = own_places(grid, moved), labels_on(grid, moved).array
    image = np.zeros(grid.shape, np.float32)
    if not brain_only:
        image[inside(world, HEAD) | inside(world, NOSE)] = SCALP
    for number, brightness in BRIGHTNESS.items():
        if number:
            image[labels == number] = brightness
    image += np.random.default_rng(3).normal(0, 6, grid.shape) * (image > 0)
    return Volume(image.clip(0).astype(np.float32), grid)


def own_places(grid, moved):
    return world_of(grid) if moved is None else Grid((1, 1, 1), np.linalg.inv(moved)).to_world(world_of(grid))


def inside(world, shape):
    middle, axes = (np.asarray(part, float) for part in shape)
    return (((world - middle) / axes) ** 2).sum(axis=-1) <= 1


@cache
def reading():
    return LabelReading.named("freesurfer")


@cache
def template():
    labels, image = labels_on(GRID), image_on(GRID)
    return Template(Volume(image.array / 500, GRID), Volume(classes_of(labels.array), GRID), "the phantom")


def classes_of(numbers):
    classes = np.zeros_like(numbers, np.uint8)
    for number in SHAPES:
        classes[numbers == number] = reading().classes[number]
    return classes


def intake(registration="rigid"):
    return Intake(
        grid=GRID,
        contrast="T1w",
        classes=tuple(ClassSpec(value, title) for value, (title, _) in SEGMENTER_CLASSES.items()),
        attributes=(
            AttributeSpec("sex", "Sex", choices={"F": 0, "M": 1}, default=0.0),
            AttributeSpec("age", "Age", "years", low=44, high=82),
            AttributeSpec("ventricular_volume", "Ventricular volume", "ml", low=5, high=85),
            AttributeSpec("brain_volume", "Brain volume", "ml", low=500, high=1450),
        ),
        template=template(),
        registration=registration,
        reading=reading(),
    )
