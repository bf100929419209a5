"""The names of a label map's values, within its NIfTI file: in a comment among the header's extensions.

Other programs leave it unread. A map that was moved or renamed is still known by its names, and not by numbers that
another model counts otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

COMMENT = 6
"""The code of plain text among NIfTI's extensions."""
OPENING = "label names: "
MOST_BYTES = 1 << 16
"""What stands between a header and its voxels is looked at up to so far."""


def comment_of(names: Mapping[int, str]) -> bytes:
    """The text that names the labels."""
    return (OPENING + json.dumps({str(value): name for value, name in sorted(names.items())})).encode("ascii")


def names_in(extensions: bytes, order: str) -> dict[int, str]:
    """The names in what stands between a NIfTI header and its voxels; none where there are none, or none that can be
    read. `order` is `little` or `big`.

    >>> text = comment_of({4: "ventricles"}) + bytes(12)
    >>> names_in(bytes([1, 0, 0, 0]) + (8 + len(text)).to_bytes(4, "big") + bytes([0, 0, 0, 6]) + text, "big")
    {4: 'ventricles'}
    """
    place = 4
    while extensions[:1] not in (b"", b"\0") and place + 8 <= len(extensions):
        size, code = (int.from_bytes(extensions[at : at + 4], order) for at in (place, place + 4))  # type: ignore[arg-type]
        if size < 8:
            break
        if code == COMMENT and (names := _parsed(extensions[place + 8 : place + size])):
            return names
        place += size
    return {}


def _parsed(text: bytes) -> dict[int, str]:
    try:
        words = text.rstrip(b"\0").decode("ascii")
        found: Any = json.loads(words.removeprefix(OPENING)) if words.startswith(OPENING) else {}
        return {int(value): str(name) for value, name in found.items()}
    except (ValueError, AttributeError, RecursionError):
        return {}
