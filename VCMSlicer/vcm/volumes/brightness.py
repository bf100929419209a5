"""How bright an image is, for scales on which that becomes 1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BRIGHT_PERCENTILE = 99.5


def brightness(values: NDArray[Any]) -> float:
    """The 99.5th percentile of intensities; 0 where there are none.

    A model's heads are scaled by all of their field of view, the air too. Where how much of it is empty says nothing,
    as in an image of the skull alone or a scan of any size, `values` are those above 0.

    >>> brightness(np.arange(1001)), brightness(np.zeros(0))
    (995.0, 0.0)
    """
    return float(np.percentile(values, BRIGHT_PERCENTILE)) if values.size else 0.0
