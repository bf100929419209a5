"""A sheet of cases: a row a case, the real image beside what was made for it, all with the outlines asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from vcm.conditions.condition import Condition
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.reporting.lettering import AMBER, BRIGHT, DIM, PLAIN, write
from vcm.reporting.montage import CANVAS, GUTTER, MARGIN, NOTICE, SIDES, put_picture, sizes_of
from vcm.reporting.montage_columns import Columns

WIDEST = 168
"""Pixels of the sagittal slice; the other planes are of the same scale."""
CAPTION = 30


@dataclass(frozen=True)
class SheetRow:
    """One case: its caption, its images by their heading, and the conditions whose outlines are drawn."""

    caption: str
    images: Mapping[str, Volume]
    conditions: Sequence[Condition] = ()


def case_sheet(rows: Sequence[SheetRow], *, title: str, subtitle: str = "", notice: str = NOTICE) -> Image.Image:
    """Draw the sheet; slices go through the outlines, and every image has its own grey window.

    The patient's sides are named once, on the first image; `notice` says that images are synthetic, where they are.
    """
    if not rows:
        raise VcmError(Code.BAD_REQUEST, "A sheet needs at least one case.")
    headings = list(rows[0].images)
    sizes = sizes_of(Columns((), rows[0].images[headings[0]]).grid, WIDEST)
    strip, height = sum(width for width, _ in sizes.values()), max(high for _, high in sizes.values())
    top = 118
    canvas = Image.new(
        "RGB",
        (2 * MARGIN + len(headings) * (strip + GUTTER) - GUTTER, top + len(rows) * (height + CAPTION + 8) + 40),
        CANVAS,
    )
    draw = ImageDraw.Draw(canvas)
    write(draw, (MARGIN, 46), title, 25, BRIGHT, width=canvas.width - 2 * MARGIN)
    write(draw, (MARGIN, 72), subtitle, 15, PLAIN, width=canvas.width - 2 * MARGIN)
    for column, heading in enumerate(headings):
        write(draw, (MARGIN + column * (strip + GUTTER), top - 10), heading, 17, BRIGHT, width=strip)
    for number, row in enumerate(rows):
        y = top + number * (height + CAPTION + 8)
        write(draw, (MARGIN, y + 20), row.caption, 14, DIM, width=canvas.width - 2 * MARGIN)
        for column, heading in enumerate(headings):
            columns, x = Columns(row.conditions, row.images[heading]), MARGIN + column * (strip + GUTTER)
            draw.rectangle((x, y + CAPTION, x + strip - 1, y + CAPTION + height - 1), fill=(0, 0, 0))
            for plane, index in columns.slices().items():
                width, high = sizes[plane]
                picture = columns.controlled(plane, index, sizes[plane])
                cell = x, y + CAPTION + (height - high) // 2, width
                put_picture(canvas, picture, plane, cell, sides=number == column == 0)
                x += width
    used = write(draw, (MARGIN, canvas.height - 18), notice, 15, AMBER)
    write(draw, (MARGIN + used + 16, canvas.height - 18), SIDES, 13, DIM)
    return canvas
