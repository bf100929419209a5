"""What the user has said of the subject, on the scale of a layout whose attributes are scaled otherwise."""

import numpy as np
import pytest
from vcm.anatomy.structures import SEMANTICS
from vcm.conditions.attributes import AttributeSpec, AttributeValue
from vcm.conditions.condition import ClassSpec, ConditionSpec, Kind
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.runs.completing import given_attributes, measured_on

AGE = AttributeSpec("age", "Age", "years", low=20, high=100)
SEX = AttributeSpec("sex", "Sex", choices={"male": 0.0, "female": 1.0})
SIZE = AttributeSpec("size", "Size")
OF_LAYOUT = (
    AttributeSpec("age", "Age", "years", low=40, high=80),
    AttributeSpec("sex", "Sex", choices={"female": 0.25, "male": 0.75}),
    SIZE,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AttributeValue(AGE, 0.5, "given"), {"age": 0.5}),
        (AttributeValue(AGE, 0.375, "given"), {"age": 0.25}),
        (AttributeValue(AGE, 0.0, "given raw"), {"age": 0.0}),  # 20 years, below what the layout knows
        (AttributeValue(AGE, 1.0, "given"), {"age": 1.0}),
        (AttributeValue(AGE, 0.375, "default"), {}),
        (AttributeValue(SEX, 0.0, "given"), {"sex": 0.75}),
        (AttributeValue(AttributeSpec("sex", "Sex", choices={"unknown": 0.0}), 0.0, "given"), {}),
        (AttributeValue(SIZE, 0.3, "given"), {}),
        (AttributeValue(AttributeSpec("weight", "Weight", low=0, high=1), 0.3, "given"), {}),
    ],
)
def test_it_is_said_anew_on_the_layouts_scale(value, expected):
    assert given_attributes([value], OF_LAYOUT) == pytest.approx(expected)


def test_a_scale_that_falls_is_kept_within_its_ends():
    falling = (AttributeSpec("age", "Age", "years", low=80, high=40),)
    assert given_attributes([AttributeValue(AGE, 0.375, "given")], falling) == pytest.approx({"age": 0.75})
    assert given_attributes([AttributeValue(AGE, 0.0, "given")], falling) == pytest.approx({"age": 1.0})


BRAIN = AttributeSpec("brain_volume", "Brain", "ml", low=1, high=5, structures=(1, 2, 4, 9))
VENTRICLES = AttributeSpec("ventricular_volume", "Ventricles", "ml", low=0, high=2, structures=(4,))


def test_what_nothing_determines_is_measured_on_the_completed_head():
    """One structure of a class that has two, and white matter in which a lesion lies."""
    labels = np.zeros((20, 10, 10), np.uint8)
    for value, slices in ((1, 8), (10, 2), (4, 3), (9, 1), (7, 4)):
        at = int((labels != 0).any(axis=(1, 2)).sum())
        labels[at : at + slices] = value
    grid = Grid(labels.shape, np.diag([2, 1, 1, 1]))  # 0.002 ml a voxel, 0.2 ml a slice
    given = AttributeValue(VENTRICLES, 0.9, "given")
    values = measured_on(
        Volume(labels, grid), [given, *(AttributeValue(s, 0.5, "default") for s in (VENTRICLES, BRAIN, SIZE))]
    )
    assert values[0] is given
    assert (values[1].raw, values[1].origin) == (pytest.approx(0.3), "measured on the completed head: 0.6 ml")
    assert (values[2].raw, values[2].origin) == (pytest.approx(0.45), "measured on the completed head: 2.8 ml")
    assert values[3].origin == "default"


def test_a_map_whose_white_matter_takes_in_lesions_measures_the_brain():
    """The eight classes of the controls that ship."""
    classes = tuple(ClassSpec(value, name, labels) for value, (name, labels) in SEMANTICS.items())
    spec = ConditionSpec("semantics", Kind.LABELS, classes)
    brain = AttributeSpec("brain_volume", "Brain", low=850, high=1450, structures=(1, 2, 3, 4, 5, 6, 8, 9))
    assert {c.name for c in brain.measured_by(spec)} == {c.name for c in classes} - {"extra-ventricular CSF"}
    assert not VENTRICLES.measured_by(spec), "the third and fourth are in that class, too"
    alone = ConditionSpec("lesions", Kind.MASK, (ClassSpec(1, "lesions", (10,)),))
    assert not brain.measured_by(alone) and not AttributeSpec("x", "X", low=0, high=1, structures=()).measured_by(alone)
