"""The hash of a file, read in pieces so that gigabytes never lie in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from vcm.core.reading import open_ordinary

PIECE = 1 << 20


def hash_file(path: Path, algorithm: str = "sha256", on_bytes: Callable[[int], None] | None = None) -> str:
    """Hexadecimal digest of a file; `on_bytes` hears how many bytes each piece had.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "empty")
    ...     path.touch()
    ...     hash_file(path, "md5")
    'd41d8cd98f00b204e9800998ecf8427e'
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open_ordinary(path) as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            if on_bytes:
                on_bytes(len(piece))
    return digest.hexdigest()
