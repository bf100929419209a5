"""Seeded damage: to bytes, to JSON documents, to text."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

HOSTILE_TEXT = (
    "", " ", "\x00", "\x1b[2J\x1b[31mred", "a\nb", "\r", "\u202e", "\ud800", "é" * 300, "a" * 300, "../../etc/passwd",
    "~nobody/x", "/dev/zero", "/dev/full", "/proc/self/mem", "nan", "-1", "1e400", "=cmd|' /C calc'!A0", "%s%n", "{}",
    "*", "CON", "-", "a" * 200_000, "--help", "\\\\server\\share", "file:///etc/passwd", "𝕏", "\ufeff", "a/b", ".",
    "..",
)  # fmt: skip
HOSTILE_NUMBERS = (
    0, -1, 1, 2, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 0.0, -0.0, 1e-320, 1e308, 0.5,
    float("nan"), float("inf"), -float("inf"),
)  # fmt: skip
FIELDS = (b"\x00", b"\x7f", b"\x80", b"\xff", b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f", struct.pack("<i", -1))


def bytes_damaged(rng: random.Random, data: bytes, head: int = 400) -> bytes:
    """The data with bytes replaced, mostly among the first `head`; cut off, lengthened, or with more in between."""
    result = bytearray(data)
    for _ in range(rng.randint(0, 4)):
        if result:
            place = rng.randrange(min(head, len(result)) if rng.random() < 0.8 else len(result))
            value = rng.choice(FIELDS) if rng.random() < 0.6 else rng.randbytes(rng.randint(1, 8))
            result[place : place + len(value)] = value
    kind = rng.random()
    if kind < 0.15:
        del result[rng.randint(0, len(result)) :]
    elif kind < 0.25:
        result += rng.randbytes(rng.randint(1, 5000))
    elif kind < 0.35 and result:
        place = rng.randrange(len(result))
        result[place:place] = rng.randbytes(rng.randint(1, 40))
    return bytes(result)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value, most of them out of place."""
    kind = rng.randrange(8)
    if kind < 3:
        return rng.choice(HOSTILE_NUMBERS)
    if kind < 6 or depth > 3:
        return rng.choice(HOSTILE_TEXT)
    if kind == 6:
        return [value(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {str(rng.choice(HOSTILE_TEXT)): value(rng, depth + 1) for _ in range(rng.randint(0, 3))}


def json_damaged(rng: random.Random, content: Any) -> Any:
    """A copy of the document with one to three values replaced, removed or repeated."""
    content = json.loads(json.dumps(content))
    for _ in range(rng.randint(1, 3)):
        inner, key = rng.choice(_places(content) or [(None, None)])
        if inner is None:
            return value(rng)
        if rng.random() < 0.25:
            del inner[key]
        elif isinstance(inner[key], (int, float)) and rng.random() < 0.5:
            inner[key] = rng.choice(HOSTILE_NUMBERS)
        else:
            inner[key] = value(rng)
    return content


def _places(content: Any) -> list[tuple[Any, Any]]:
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    found = []
    for key, inner in list(pairs):
        found.append((content, key))
        found += _places(inner)
    return found


def json_text(rng: random.Random, content: Any) -> bytes:
    """The document as bytes: mostly JSON, now and then too deep, too long, of other characters, or not JSON at all."""
    kind = rng.random()
    if kind < 0.03:
        return b"[" * 100_000
    if kind < 0.06:
        return json.dumps(content).encode("utf-16")
    if kind < 0.1:
        return bytes_damaged(rng, json.dumps(content).encode(), 10_000)
    return json.dumps(content, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
