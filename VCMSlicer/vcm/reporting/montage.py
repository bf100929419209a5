"""One picture of a Sample: condition, controlled and uncontrolled image and their difference, in three planes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from vcm.conditions.condition import Condition, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.alignment import Alignment, ClassAlignment
from vcm.outputs.atomic_files import atomic_path
from vcm.reporting.lettering import AMBER, BRIGHT, DIM, PLAIN, lines_of, write
from vcm.reporting.montage_columns import Columns, Size
from vcm.reporting.planes import PLANES, SAGITTAL, Plane
from vcm.reporting.score_table import Line, class_lines, draw_table, image_line, table_height
from vcm.reporting.slice_pictures import Colour, Picture, difference_colour

NOTICE = "SYNTHETIC - research only, not for diagnosis"
SIDES = "the patient's right is on the left"

Headed = tuple[str, str, Callable[[Plane, int, Size], Picture]]
"""A column: its heading, the note beside it, and what draws a slice."""

CANVAS: Colour = (17, 19, 24)
MARGIN, GUTTER, CELL = 28, 10, 328


def montage(
    *,
    conditions: Sequence[Condition],
    controlled: Volume,
    uncontrolled: Volume | None = None,
    completed: Volume | None = None,
    alignment: Alignment | None = None,
    uncontrolled_alignment: Alignment | None = None,
    title: str,
    subtitle: str = "",
) -> Image.Image:
    """Draw a Sample beside its conditions and, where there are such, the label map to which a layout completed them and
    the Sample's uncontrolled twin.

    All volumes lie on one Grid of any orientation; pictures are true to the millimetre and in radiological convention.
    Both images share one grey window. `subtitle` is for the pack, the seed and the like.
    """
    columns = Columns(conditions, controlled, uncontrolled, completed)
    scores = scores_of(columns, conditions, alignment, uncontrolled_alignment)
    said = [f"greys from 0 to {columns.window.white:.2f}", SIDES]
    said += [f"measured by {alignment.judge}"] if alignment and alignment.judge else []
    return laid_out(columns, _headed(columns), scores, said, title, subtitle)


def laid_out(
    columns: Columns, headed: Sequence[Headed], scores: Sequence[Line], said: Sequence[str], title: str, subtitle: str
) -> Image.Image:
    """The picture: title, scores, then a column of slices under each heading; what is `said` stands below.

    The slices are those of `columns`, whose difference has a colour bar where there is one.
    """
    sizes = sizes_of(columns.grid, CELL)
    inner = len(headed) * (CELL + GUTTER) - GUTTER
    introduction = lines_of(subtitle, 15, inner)
    table_top = 72 + 21 * len(introduction)
    pictures_top = table_top + table_height(scores, inner) + 50
    footer_top = pictures_top + sum(height + GUTTER for _, height in sizes.values())

    canvas = Image.new("RGB", (inner + 2 * MARGIN, footer_top + 68), CANVAS)
    draw = ImageDraw.Draw(canvas)
    write(draw, (MARGIN, 50), title, 27, BRIGHT, width=inner)
    for number, line in enumerate(introduction):
        write(draw, (MARGIN, 78 + 21 * number), line, 15, PLAIN)
    draw_table(draw, scores, MARGIN, table_top, inner)
    slices = columns.slices()
    for number, (heading, note, picture) in enumerate(headed):
        left, top = MARGIN + number * (CELL + GUTTER), pictures_top
        used = write(draw, (left, top - 13), heading, 17, BRIGHT)
        write(draw, (left + used + 9, top - 13), note, 13, DIM)
        for plane, size in sizes.items():
            put_picture(canvas, picture(plane, slices[plane], size), plane, (left, top, CELL))
            if number == 0:
                _put_position(draw, plane, columns.grid, slices[plane], (left, top))
            top += size[1] + GUTTER
    _draw_footer(draw, said, (MARGIN, footer_top))
    if columns.compared:
        _draw_colour_bar(canvas, columns.limit, (MARGIN + inner - CELL, footer_top + 10))
    return canvas


def save_montage(path: str | Path, **drawing: Any) -> None:
    """Draw a montage (its arguments are those of `montage`) and put it in place as a PNG."""
    save_picture(path, montage(**drawing))


def save_picture(path: str | Path, picture: Image.Image, notice: str = NOTICE) -> None:
    """Put a picture in place whole, as a PNG that calls itself synthetic, unless another `notice` is given."""
    described = PngInfo()
    described.add_text("Description", notice)
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG", pnginfo=described)


def contact_sheet(volumes: Sequence[Volume], captions: Sequence[str], *, title: str = "") -> Image.Image:
    """Draw several Samples, a strip of three middle planes each with its caption, two strips beside each other.

    Each Sample has its own grey window.
    """
    if not volumes or len(volumes) != len(captions):
        raise VcmError(
            Code.BAD_REQUEST,
            f"A contact sheet needs at least one sample and a caption for each; there are {len(volumes)} samples and "
            f"{len(captions)} captions.",
        )
    strip = 2 * CELL + GUTTER
    across = min(2, len(volumes))
    drawn = [Columns((), volume) for volume in volumes]
    scale = strip / sum(plane.size_mm(drawn[0].grid)[0] for plane in PLANES)
    sizes = sizes_of(drawn[0].grid, scale * SAGITTAL.size_mm(drawn[0].grid)[0])
    height = max(high for _, high in sizes.values())
    rows = -(-len(volumes) // across)
    header = 78 if title else MARGIN
    canvas = Image.new(
        "RGB", (2 * MARGIN + across * (strip + GUTTER) - GUTTER, header + rows * (height + 44) + 36), CANVAS
    )
    draw = ImageDraw.Draw(canvas)
    write(draw, (MARGIN, 50), title, 27, BRIGHT, width=canvas.width - 2 * MARGIN)
    for number, (columns, caption) in enumerate(zip(drawn, captions, strict=True)):
        left = MARGIN + (number % across) * (strip + GUTTER)
        top = header + (number // across) * (height + 44)
        write(draw, (left, top + 18), caption, 15, BRIGHT, width=strip)
        draw.rectangle((left, top + 28, left + strip - 1, top + 28 + height - 1), fill=(0, 0, 0))
        for plane, index in columns.slices().items():
            width, high = sizes[plane]
            picture = columns.controlled(plane, index, sizes[plane])
            put_picture(canvas, picture, plane, (left, top + 28 + (height - high) // 2, width))
            left += width
    write(draw, (MARGIN, canvas.height - 20), NOTICE, 15, AMBER)
    return canvas


def _headed(columns: Columns) -> list[Headed]:
    headed: list[Headed] = [("Condition", "", columns.condition), *completed_column(columns)]
    headed.append(("Controlled", "", columns.controlled))
    if columns.compared:
        headed.append(("Uncontrolled", "same noise", columns.uncontrolled))
        headed.append(("Difference", "controlled minus uncontrolled", columns.difference))
    return headed


def completed_column(columns: Columns) -> list[Headed]:
    """The column of the head that a layout completed, where one did."""
    return [("Completed", "by the layout", columns.completed)] if columns.was_completed else []


def sizes_of(grid: Grid, widest: float) -> dict[Plane, Size]:
    """Pixels of each plane's picture, of one scale for all, the widest being `widest` pixels wide."""
    millimetres = {plane: plane.size_mm(grid) for plane in PLANES}
    scale = widest / max(width for width, _ in millimetres.values())
    return {
        plane: (max(1, round(width * scale)), max(1, round(height * scale)))
        for plane, (width, height) in millimetres.items()
    }


def scores_of(
    columns: Columns, conditions: Sequence[Condition], found: Alignment | None, twin: Alignment | None
) -> list[Line]:
    """The lines of the table above the pictures: one a structure and one an image."""

    def entries(alignment: Alignment | None) -> dict[tuple[str, str], ClassAlignment]:
        return {(entry.condition, entry.name): entry for entry in alignment.classes} if alignment else {}

    here, beside = entries(found), entries(twin)
    lines = [
        line
        for s in columns.structures
        for line in class_lines(s.name, s.colour, here.get((s.condition, s.name)), beside.get((s.condition, s.name)))
    ]
    images = [c.spec.name for c in conditions if c.spec.kind is Kind.IMAGE]
    return lines + [image_line(name, found, twin) for name in images if found]


def put_picture(
    canvas: Image.Image, picture: Picture, plane: Plane, cell: tuple[int, int, int], *, sides: bool = True
) -> None:
    """Centre a slice in its black cell (left, top, width), with the patient's sides at the edges if wanted."""
    left, top, width = cell
    height = picture.shape[0]
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=(0, 0, 0))
    pixels = Image.fromarray(np.rint(picture).clip(0, 255).astype(np.uint8))
    canvas.paste(pixels, (left + (width - pixels.width) // 2, top))
    for letter, place, anchor in (
        (plane.left, (left + 8, top + height / 2), "lm"),
        (plane.right, (left + width - 8, top + height / 2), "rm"),
        (plane.top, (left + width / 2, top + 5), "mt"),
        (plane.bottom, (left + width / 2, top + height - 5), "mb"),
    )[: 4 * sides]:
        write(draw, place, letter, 13, PLAIN, anchor=anchor, halo=True)


def _put_position(draw: ImageDraw.ImageDraw, plane: Plane, grid: Grid, index: int, corner: tuple[int, int]) -> None:
    left, top = corner
    write(draw, (left + 8, top + 8), plane.name, 14, PLAIN, anchor="lt", halo=True)
    write(draw, (left + 8, top + 26), plane.position(grid, index), 13, DIM, anchor="lt", halo=True)


def _draw_footer(draw: ImageDraw.ImageDraw, said: Sequence[str], corner: tuple[int, int]) -> None:
    left, top = corner
    write(draw, (left, top + 22), NOTICE, 15, AMBER)
    write(draw, (left, top + 44), " · ".join(said), 13, DIM, width=2 * CELL + GUTTER)


def _draw_colour_bar(canvas: Image.Image, limit: float, corner: tuple[int, int]) -> None:
    left, top = corner
    colours = difference_colour(np.linspace(-1, 1, CELL))[None].repeat(8, axis=0)
    canvas.paste(Image.fromarray(np.rint(colours).astype(np.uint8)), (left, top))
    draw = ImageDraw.Draw(canvas)
    for share, anchor, text in ((0.0, "lt", f"-{limit:.2f}"), (0.5, "mt", "0"), (1.0, "rt", f"+{limit:.2f}")):
        write(draw, (left + share * CELL, top + 15), text, 13, PLAIN, anchor=anchor)
