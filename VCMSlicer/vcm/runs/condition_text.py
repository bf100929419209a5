"""How conditions and attributes are written as text, on a command line or in a table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.volumes.image_refusals import READABLE


@dataclass(frozen=True)
class Acting:
    """How strongly, when and where a condition acts; None where nothing was said."""

    strength: float | None = None
    window: tuple[float, float] | None = None
    region: Path | None = None


def split_label(text: str) -> tuple[Path, int | str | None]:
    """The last colon is a label's, unless the whole is a file, what follows is one's ending, or it is a drive's.

    >>> [split_label(text)[1] for text in ("scan.nrrd:Lateral ventricle", "12:30.nii.gz", "C:/mask.nii.gz")]
    ['Lateral ventricle', None, None]
    """
    path, colon, label = text.rpartition(":")
    named_like_a_file = label.lower().endswith(READABLE) or "/" in label or "\\" in label
    if not colon or not label or len(path) <= 1 or named_like_a_file or os.path.exists(text):  # noqa: PTH110
        return Path(text), None
    return Path(path), int(label) if label.isdecimal() else label


def read_window(text: str) -> tuple[float, float]:
    """A time window, START:END; a ValueError where one of them is no number.

    >>> read_window("0:0.8")
    (0.0, 0.8)
    """
    start, colon, end = text.partition(":")
    if not colon:
        raise VcmError(Code.BAD_REQUEST, f"A time window is written START:END within 0 and 1; {text!r} was given.")
    return float(start), float(end)


def number_or_word(text: str) -> float | str:
    """The value of an attribute in human units: a number, or one of its words.

    >>> number_or_word("72"), number_or_word("F")
    (72.0, 'F')
    """
    try:
        return float(text)
    except ValueError:
        return text.strip()
