"""The measured Alignment as lines of a picture: one line a structure, with the uncontrolled twin in brackets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import ImageDraw

from vcm.judging.alignment import Alignment, ClassAlignment
from vcm.reporting.lettering import BRIGHT, DIM, PLAIN, Colour, write

LINE = 25
BLOCK = 664
MOST_LINES = 4

# Heading and right edge of each number, in pixels from the block's left; what is bracketed follows it.
NUMBERS = (("asked for, ml", 282), ("obtained, ml", 384), ("Dice", 490), ("HD95, mm", 600))


@dataclass(frozen=True)
class Line:
    """One structure's or image's line: its colour (None for an image), name, numbers and those of the twin."""

    colour: Colour | None
    name: str
    numbers: tuple[str, ...] = ()
    twin: tuple[str, ...] = ()
    remark: str = ""


def class_lines(name: str, colour: Colour, found: ClassAlignment | None, twin: ClassAlignment | None) -> Iterator[Line]:
    """The line of one structure, and one more where its numbers do not tell all; without an Alignment it is the legend
    of its colour."""
    if found is None:
        yield Line(colour, name)
    elif found.obtained_ml is None:
        yield Line(colour, name, (_volume(found.requested_ml),), remark=found.remark)
    else:
        yield Line(colour, name, _numbers(found), ("", *_numbers(twin)[1:]) if twin else ())
        if found.remark:
            yield Line(None, "", remark=found.remark)
    if found is not None and found.local_contrast is not None:
        beside = twin.local_contrast if twin else None
        brackets = f"  ({beside:+.2f})" if beside is not None else ""
        yield Line(None, "", remark=f"contrast with the tissue around {found.local_contrast:+.2f}{brackets}")


def image_line(name: str, alignment: Alignment, twin: Alignment | None) -> Line:
    """The line of an image condition."""
    error = {entry.condition: entry.mse for entry in alignment.images}.get(name)
    beside = {entry.condition: entry.mse for entry in twin.images}.get(name) if twin else None
    if error is None:
        return Line(None, name)
    brackets = f"  ({beside:.4f})" if beside is not None else ""
    return Line(None, name, remark=f"mean squared error {error:.4f}{brackets}")


def table_height(lines: Sequence[Line], width: int) -> int:
    """Pixels that the lines and their heading take in a table of that width."""
    return (1 + max(len(block) for block in _blocks(lines, width))) * LINE if lines else 0


def draw_table(draw: ImageDraw.ImageDraw, lines: Sequence[Line], left: int, top: int, width: int) -> None:
    """Draw the lines, in two blocks side by side where they are many and there is room."""
    for number, block in enumerate(_blocks(lines, width) if lines else []):
        x, y = left + number * (width - BLOCK), top + LINE - 8
        _draw_heading(draw, block, x, y, first=number == 0)
        for line in block:
            y += LINE
            _draw_line(draw, line, x, y)


def _blocks(lines: Sequence[Line], width: int) -> list[Sequence[Line]]:
    if len(lines) <= MOST_LINES or width < 2 * BLOCK:
        return [lines]
    half = (len(lines) + 1) // 2
    while half < len(lines) and not lines[half].name:  # what is said of a structure stays with it
        half += 1
    return [lines[:half], lines[half:]]


def _draw_heading(draw: ImageDraw.ImageDraw, block: Sequence[Line], x: int, y: int, *, first: bool) -> None:
    if any(line.numbers for line in block):
        for heading, edge in NUMBERS:
            write(draw, (x + edge, y), heading, 13, DIM, anchor="rs")
    if first and any(any(line.twin) or "(" in line.remark for line in block):
        write(draw, (x, y), "(in brackets: uncontrolled)", 13, DIM)


def _draw_line(draw: ImageDraw.ImageDraw, line: Line, x: int, y: int) -> None:
    if line.colour:
        draw.rounded_rectangle((x, y - 11, x + 12, y + 1), 3, fill=line.colour)
    write(draw, (x + 22, y), line.name, 15, BRIGHT, width=168)
    edges = [edge for _, edge in NUMBERS]
    for edge, number in zip(edges, line.numbers, strict=False):
        write(draw, (x + edge, y), number, 15, BRIGHT, anchor="rs")
    for edge, number in zip(edges, line.twin, strict=False):
        if number:
            write(draw, (x + edge + 7, y), f"({number})", 15, DIM)
    if line.remark:
        start = edges[0] + 20 if line.numbers else 200 if line.name else 22
        write(draw, (x + start, y), line.remark, 14, PLAIN, width=BLOCK - start)


def _numbers(entry: ClassAlignment) -> tuple[str, ...]:
    return (
        _volume(entry.requested_ml),
        "-" if entry.obtained_ml is None else _volume(entry.obtained_ml),
        "-" if entry.dice is None else f"{entry.dice:.2f}",
        "-" if entry.hd95_mm is None else f"{entry.hd95_mm:.1f}",
    )


def _volume(ml: float) -> str:
    return f"{ml:.1f}" if ml < 100 else f"{ml:.0f}"
