"""What the user has said of the subject, on the scale of a layout whose attributes are scaled otherwise."""

import pytest
from vcm.conditions.attributes import AttributeSpec, AttributeValue
from vcm.runs.completing import given_attributes

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
