"""What a picture's table says of each structure."""

from __future__ import annotations

from vcm.judging.alignment import ClassAlignment
from vcm.reporting.score_table import BLOCK, LINE, class_lines, table_height

RED = (200, 40, 40)


def entry(**measured):
    usual = {"condition": "mask", "name": "mask", "requested_ml": 11.5, "resampled_ml": 11.5, "obtained_ml": 2.5}
    return ClassAlignment(**{**usual, "dice": 0.05, **measured})


def said(found, twin=None):
    return [(line.name, line.numbers[:1], line.remark) for line in class_lines("mask", RED, found, twin)]


def test_a_structure_that_the_segmenter_sees_has_one_line():
    assert said(entry(), entry()) == [("mask", ("11.5",), "")]
    assert said(None) == [("mask", (), "")]


def test_what_the_segmenter_does_not_recognise_is_said_below_the_numbers():
    remark = "the segmenter does not recognise it all: 11.4 ml by intensity, Dice 0.95"
    assert said(entry(remark=remark)) == [("mask", ("11.5",), ""), ("", (), remark)]
    assert said(entry(obtained_ml=None, remark="not measurable")) == [("mask", ("11.5",), "not measurable")]


def test_a_lesions_contrast_stands_beside_that_of_its_twin():
    assert said(entry(local_contrast=-0.41), entry(local_contrast=0.02))[1:] == [
        ("", (), "contrast with the tissue around -0.41  (+0.02)")
    ]
    assert said(entry(local_contrast=-0.41, obtained_ml=None))[1:] == [
        ("", (), "contrast with the tissue around -0.41")
    ]


def test_a_remark_is_not_parted_from_its_structure_where_there_are_two_blocks():
    structures = [list(class_lines("mask", RED, entry(remark=words), None)) for words in ("", "", "a remark", "", "")]
    lines = [line for one in structures for line in one]
    assert len(lines) == 6 and not lines[3].name
    assert table_height(lines, 2 * BLOCK) == (1 + 4) * LINE  # three lines each would begin the second with the remark
