"""The pictures of a validation: each case's slices side by side, the cases below each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.reporting.lettering import AMBER, BRIGHT, write
from vcm.reporting.montage import NOTICE, SIDES, save_picture
from vcm.reporting.planes import PLANES, facing_viewer, telling_slice
from vcm.reporting.slice_pictures import Window, grey, outline

TILE = 160
STRIP = 26
LINE_COLOUR = (255, 170, 0)


def row_of(
    images: Sequence[NDArray], grid: Grid, mask: NDArray[np.bool_] | None = None, outlined: Sequence[int] = ()
) -> NDArray[np.uint8]:
    """Images in three planes each, all through the middle of `mask`; it is outlined on the `outlined` ones."""
    seen = facing_viewer(Volume(mask if mask is not None else np.zeros(grid.shape, bool), grid))
    structure = np.asarray(seen.array, bool)
    scale = TILE / max(max(plane.size_mm(seen.grid)) for plane in PLANES)
    slices = [(plane, telling_slice(structure, plane), plane.size_mm(seen.grid)) for plane in PLANES]
    tiles = []
    for number, image in enumerate(images):
        facing = facing_viewer(Volume(image.astype(np.float32), grid))
        for plane, index, (width, height) in slices:
            size = round(scale * width), round(scale * height)
            picture = grey(plane.cut(facing.array, index), Window(0.0, 1.0), size)
            if number in outlined:
                picture = outline(picture, plane.cut(structure, index), LINE_COLOUR)
            tile = np.zeros((TILE, TILE, 3), np.uint8)
            top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
            tile[top : top + size[1], left : left + size[0]] = picture.clip(0, 255).astype(np.uint8)
            tiles.append(tile)
    return np.hstack(tiles)


def save_sheet(
    path: Path, rows: Sequence[NDArray[np.uint8]], titles: Sequence[str] = (), most: int = 8
) -> NDArray[np.uint8]:
    """Put the rows' picture in place, with a title over each image, and return it."""
    pictures = np.vstack(rows[:most])
    high, width = pictures.shape[:2]
    sheet = Image.new("RGB", (width, STRIP + high + STRIP))
    sheet.paste(Image.fromarray(pictures), (0, STRIP))
    draw = ImageDraw.Draw(sheet)
    room = width // max(len(titles), 1)
    for number, title in enumerate(titles):
        write(draw, (number * room + 6, STRIP - 8), title, 14, BRIGHT, width=room - 12)
    write(draw, (6, sheet.height - 8), f"{NOTICE} · {SIDES}", 14, AMBER, width=width - 12)
    save_picture(path, sheet)
    return np.asarray(sheet)
