"""Networks as a training's settings want them, or the sentence why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vcm.core.errors import Code, VcmError


@contextmanager
def network_refusals() -> Iterator[None]:
    """Around the making of networks from settings: options that a network cannot have are refused in a sentence."""
    try:
        yield
    except VcmError:
        raise
    except Exception as error:
        raise VcmError(
            Code.BAD_REQUEST, f"No network can be made so: {error}.", "Change what network = {…} says in the settings."
        ) from error
