"""Text on pictures, in the one font that comes with Pillow."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

BRIGHT: Colour = (236, 239, 244)
PLAIN: Colour = (168, 176, 189)
DIM: Colour = (118, 127, 142)
AMBER: Colour = (255, 190, 92)

# The font has Latin letters without accents and little else; the rest is written with what it has.
SUBSTITUTES = str.maketrans({"–": "-", "—": "-", "−": "-", "×": "x", "“": '"', "”": '"', "’": "'", "ß": "ss"})
BEYOND_ASCII = set("…·±°")


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font at a size in pixels."""
    return ImageFont.load_default(size)


def writable(text: str) -> str:
    """The text in letters that the font has; what it lacks becomes a question mark.

    >>> writable("Größe 2 × 3 – über…")
    'Grosse 2 x 3 - uber…'
    """
    plain = unicodedata.normalize("NFD", text.translate(SUBSTITUTES))
    letters = [c for c in plain if not unicodedata.combining(c)]
    return "".join(c if c in BEYOND_ASCII or 32 <= ord(c) < 127 else "?" for c in letters)


def fitted(text: str, size: int, width: float) -> str:
    """The text, cut short with an ellipsis where it would be wider than `width` pixels."""
    text = writable(text)
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def lines_of(text: str, size: int, width: float) -> list[str]:
    """The text in lines of at most `width` pixels, broken between its words.

    >>> lines_of("seed 1 · 20 steps", 15, 60)
    ['seed 1 ·', '20 steps']
    """
    lines: list[str] = []
    for word in writable(text).split():
        if lines and font(size).getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    colour: Colour,
    *,
    anchor: str = "ls",
    width: float | None = None,
    halo: bool = False,
) -> float:
    """Put text at a place (Pillow's anchors; left baseline by default) and give its width in pixels.

    `width` cuts it short, `halo` sets it off from what lies behind.
    """
    text = writable(text) if width is None else fitted(text, size, width)
    draw.text(place, text, fill=colour, font=font(size), anchor=anchor, stroke_width=2 * halo, stroke_fill=(0, 0, 0))
    return font(size).getlength(text)
