"""How long threads that wait for each other keep a core busy before they sleep."""

from __future__ import annotations

import os

SPINS = "3000"
"""GNU OpenMP's own 300,000 cost nothing on idle cores; where another program needs one, each wait lasts its turn."""


def limit_spinning() -> None:
    """Have PyTorch's threads sleep soon when they wait, unless the user has said how; before it is imported."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
