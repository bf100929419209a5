"""One slice as a picture: greys, signed differences, tinted structures and their outlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Colour = tuple[int, int, int]
Picture = NDArray[np.float32]
"""`[row, column, RGB]` with values in 0–255."""

LINE_PX = 1.7

# From the strongest decrease over none to the strongest increase.
DIFFERENCE_COLOURS = np.array([[190, 232, 255], [38, 120, 250], [0, 0, 0], [245, 96, 32], [255, 232, 190]], np.float32)


@dataclass(frozen=True)
class Window:
    """The intensities shown black and white.

    >>> Window(0.0, 0.5).shade(np.array([-1.0, 0.25, 2.0])).tolist()
    [0.0, 127.5, 255.0]
    """

    black: float
    white: float

    @classmethod
    def joint(cls, arrays: list[NDArray]) -> Window:
        """One window for several images, so that they can be compared: 0 to their 99.5th percentile."""
        white = max(float(np.percentile(array, 99.5)) for array in arrays)
        return cls(0.0, white if white > 0 else 1.0)

    def shade(self, array: NDArray) -> NDArray[np.float32]:
        share = (array.astype(np.float32) - self.black) / (self.white - self.black)
        return np.clip(share, 0, 1) * 255


def enlarged(array: NDArray, size: tuple[int, int]) -> NDArray[np.float32]:
    """A slice `[row, column]` brought to `size` (width, height) pixels, edge to edge."""
    image = Image.fromarray(np.ascontiguousarray(array, np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.float32)


def grey(array: NDArray, window: Window, size: tuple[int, int], brightness: float = 1.0) -> Picture:
    """Intensities in shades of grey."""
    shade = window.shade(enlarged(array, size)) * brightness
    return np.repeat(shade[:, :, None], 3, axis=2)


def signed(array: NDArray, limit: float, size: tuple[int, int]) -> Picture:
    """Differences in colour: blue below 0, black at 0, orange above, full at ±`limit`."""
    return difference_colour(enlarged(array, size) / limit)


def difference_colour(share: NDArray) -> Picture:
    """The colour of differences given as a share of the limit, −1 to 1.

    >>> difference_colour(np.array([0.0])).tolist()
    [[0.0, 0.0, 0.0]]
    """
    stops = np.linspace(-1, 1, len(DIFFERENCE_COLOURS))
    channels = [np.interp(share, stops, DIFFERENCE_COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def tint(picture: Picture, mask: NDArray[np.bool_], colour: Colour, opacity: float) -> Picture:
    """The picture with a structure's inside in its colour."""
    height, width = picture.shape[:2]
    inside = np.clip((enlarged(mask, (width, height)) - 0.5) * 4 + 0.5, 0, 1)
    return _blended(picture, inside * opacity, colour)


def outline(picture: Picture, mask: NDArray[np.bool_], colour: Colour, *, seam: bool = False) -> Picture:
    """The picture with a structure's border as a smooth line, on a dark seam where it must stand out."""
    height, width = picture.shape[:2]
    field = enlarged(mask, (width, height))
    distance = np.abs(field - 0.5) / np.maximum(np.hypot(*np.gradient(field)), 1e-6)
    if seam:
        picture = _blended(picture, np.clip(LINE_PX / 2 + 1.5 - distance, 0, 1) * 0.5, (0, 0, 0))
    return _blended(picture, np.clip(LINE_PX / 2 + 0.5 - distance, 0, 1), colour)


def _blended(picture: Picture, opacity: NDArray[np.float32], colour: Colour) -> Picture:
    share = opacity[:, :, None]
    return picture * (1 - share) + np.asarray(colour, np.float32) * share
