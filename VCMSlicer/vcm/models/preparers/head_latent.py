"""The latent of a head whose brain was taken out, with an average brain put in its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vcm.anatomy.brain_hole import brain_hole, fill_hole
from vcm.conditions.condition import Condition
from vcm.models.backbones.backbone import Backbone
from vcm.models.preparers.image_matching import ImageMatcher
from vcm.models.preparers.preparer import Finish, ImageLatent


class HeadLatent(ImageLatent):
    """Fills the hole before encoding, and brings the finished sample to what the image shows."""

    def image_to_encode(self, image: NDArray[np.float32], backbone: Backbone) -> NDArray[np.float32]:
        """The image with the brain of the backbone's average head in its hole."""
        typical = backbone.typical_image()
        return fill_hole(image, backbone.grid, None if typical is None else typical[0, 0].float().numpy())

    def finish(self, conditions: Sequence[Condition], backbone: Backbone, device: torch.device) -> Finish | None:
        """Move a finished latent to where its image shows what these images show, if they last and have a hole.

        One without a hole would put the patient's own brain into the sample.
        """
        lasting = [c for c in conditions if c.strength > 0 and c.end >= 1]
        shown = [c for c in lasting if brain_hole(c.as_channels()[0], c.volume.grid).any()]
        return ImageMatcher(backbone, shown, device) if shown else None
