"""How a condition becomes what a control sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.brain_hole import fill_hole
from vcm.models.backbones.backbone import Backbone


def with_brain(image: NDArray[np.float32], backbone: Backbone) -> NDArray[np.float32]:
    """An image of a skull on the backbone's Grid with the backbone's typical brain in it."""
    typical = backbone.typical_image()
    return fill_hole(image, backbone.grid, None if typical is None else typical[0, 0].float().numpy())
