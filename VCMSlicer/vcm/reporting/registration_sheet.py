"""The picture by which a person judges a registration: the reference above, the scan below, both under one outline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vcm.anatomy import structures
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template
from vcm.registration.scan import Registration
from vcm.reporting.lettering import BRIGHT, DIM, PLAIN, write
from vcm.reporting.montage import CANVAS, GUTTER, MARGIN, SIDES, put_picture, sizes_of
from vcm.reporting.planes import PLANES, facing_viewer, telling_slice
from vcm.reporting.slice_pictures import Colour, Window, grey, outline
from vcm.volumes.resampling import resample_image

WIDEST = 300
BRAIN: Colour = (63, 178, 168)
VENTRICLES: Colour = (255, 190, 92)
HEAD, CAPTION, FOOT = 78, 30, 34
NOTICE = "shows a person's scan - research only, not for diagnosis"


@dataclass(frozen=True)
class _Row:
    caption: str
    image: Volume


def registration_sheet(scan: Volume, template: Template, found: Registration) -> Image.Image:
    """Draw both heads on the template's Grid with the template's brain and ventricles outlined on both."""
    grid = template.image.grid
    laid = resample_image(found.pose.applied(Volume(scan.array.astype(np.float32), scan.grid)), grid)
    rows = [_Row(template.source, template.image), _Row("the scan, laid on it, under the same outlines", laid)]
    masks = [
        (facing_viewer(Volume(mask, grid)).array.astype(bool), colour)
        for mask, colour in ((template.brain, BRAIN), (template.labels.array == structures.VENTRICLES, VENTRICLES))
    ]
    sizes = sizes_of(facing_viewer(template.image).grid, WIDEST)
    height = max(high for _, high in sizes.values())
    strip = sum(width for width, _ in sizes.values()) + 2 * GUTTER
    canvas = Image.new("RGB", (2 * MARGIN + strip, HEAD + 2 * (height + CAPTION) + FOOT), CANVAS)
    draw = ImageDraw.Draw(canvas)
    write(draw, (MARGIN, 38), "Registration to the model's space", 23, BRIGHT)
    write(draw, (MARGIN, 62), found.words, 15, PLAIN, width=strip)
    for number, row in enumerate(rows):
        y = HEAD + number * (height + CAPTION)
        write(draw, (MARGIN, y + 20), row.caption, 15, PLAIN, width=strip)
        _put_row(canvas, facing_viewer(row.image), masks, (MARGIN, y + CAPTION))
    write(draw, (MARGIN, canvas.height - 12), f"{NOTICE} · {SIDES}", 13, DIM)
    return canvas


def _put_row(
    canvas: Image.Image, image: Volume, masks: list[tuple[NDArray[np.bool_], Colour]], corner: tuple[int, int]
) -> None:
    sizes = sizes_of(image.grid, WIDEST)
    tallest = max(high for _, high in sizes.values())
    window, x = Window.joint([image.array]), corner[0]
    for plane in PLANES:
        width, high = sizes[plane]
        # Between the ventricles the sagittal slice shows corpus callosum, brain stem and cerebellum.
        index = telling_slice(masks[1][0], plane) if plane.through else image.grid.shape[0] // 2
        picture = grey(plane.cut(image.array, index), window, (width, high))
        for mask, colour in masks:
            picture = outline(picture, plane.cut(mask, index), colour, seam=True)
        put_picture(canvas, picture, plane, (x, corner[1] + (tallest - high) // 2, width))
        x += width + GUTTER
