"""Tables as CSV: what a spreadsheet would take for a formula is quoted, and read back as it was."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TextIO

LONGEST_CELL = 16 << 20
"""A longer cell is refused by the reader, with its line."""

# A spreadsheet computes cells that begin so; an apostrophe before them makes them text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

csv.field_size_limit(LONGEST_CELL)


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Rows as CSV.

    >>> csv_text([["name", "dice"], ["=cmd|calc.nii", -0.5]])
    "name,dice\n'=cmd|calc.nii,-0.5\n"
    """
    return "".join(map(_line, rows))


def csv_of_records(columns: Iterable[str], records: Iterable[Mapping[str, object]]) -> str:
    """Records as CSV with a header; what a record does not hold is empty."""
    names = list(columns)
    return csv_text([names, *([record.get(name, "") for name in names] for record in records)])


def read_rows(stream: TextIO, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """The lines of a table with their numbers, its header first; empty ones are left out. ValueError if it is none."""
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [unquoted(cell) for cell in cells]
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def read_records(stream: TextIO, delimiter: str = ",") -> tuple[Sequence[str], list[dict[str, str]]]:
    """The header and a mapping a line; a cell that a line lacks is empty, one too many is passed over."""
    rows = read_rows(stream, delimiter)
    _, header = next(rows, (1, []))
    return header, [dict.fromkeys(header, "") | dict(zip(header, cells, strict=False)) for _, cells in rows]


def quoted(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers.

    >>> [quoted(cell) for cell in ("a", "-0.5", "-x", "'=x", None, -3)]
    ['a', '-0.5', "'-x", "''=x", '', '-3']
    """
    text = "" if cell is None else str(cell)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def unquoted(cell: str) -> str:
    """What `quoted` was given.

    >>> [unquoted(quoted(cell)) for cell in ("a", "-0.5", "-x", "'=x", "'a")]
    ['a', '-0.5', '-x', "'=x", "'a"]
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _line(row: Iterable[object]) -> str:
    text = io.StringIO()
    # The writer quotes only those newlines that its own lines end with.
    csv.writer(text, lineterminator="\r\n").writerow([quoted(cell) for cell in row])
    return text.getvalue().removesuffix("\r\n") + "\n"
