"""Tables that others open: no cell is a formula for a spreadsheet, and every cell is read back as it was."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcm.core.csv_tables import csv_of_records, csv_text, read_records, read_rows

FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "'=1", "-nan", "=", "- 5", "+\u0661")


@pytest.mark.parametrize("cell", FORMULAS)
def test_no_cell_that_another_reader_sees_begins_a_formula(cell):
    (seen,) = next(csv.reader(io.StringIO(csv_text([[cell]]), newline="")))
    assert seen[0] not in "=+-@\t\r"


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), min_size=2, max_size=4))
def test_every_cell_is_read_back_as_it_was(cells):
    rows = list(read_rows(io.StringIO(csv_text([["first", *cells[1:]]]), newline="")))
    assert [row for _, row in rows] == [["first", *cells[1:]]]


def test_numbers_stay_numbers():
    assert csv_text([[-0.5, "-0.5", 3, None, "+1e5"]]) == "-0.5,-0.5,3,,+1e5\n"


def test_records_are_read_back_by_their_columns():
    text = csv_of_records(("case", "image"), [{"case": "=a", "image": "b,\nc"}, {"case": "d"}])
    assert read_records(io.StringIO(text, newline=""))[1] == [
        {"case": "=a", "image": "b,\nc"},
        {"case": "d", "image": ""},
    ]


def test_what_is_no_table_is_told_by_its_line():
    with pytest.raises(ValueError, match="line 2"):
        list(read_rows(io.StringIO('a,b\n1,"2')))
