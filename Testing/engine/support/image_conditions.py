"""An image as a condition, and controls that are given images as the backbone's latents or as voxels."""

import numpy as np
import tiny
import torch
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.volume import Volume
from vcm.models.controls.vcm_control import VcmControl


def control_of(*as_latents: str) -> VcmControl:
    torch.manual_seed(1)
    specs = tuple(map(ConditionSpec.from_dict, tiny.CONDITIONS))
    unet = {**tiny.CONTROL["unet"], "out_channels": 8}
    networks = {
        "variant": "patches", "places": list(tiny.LATENT[1:]), "width": 8, "features": 8, "hidden": 8, "unet": unet,
        "schedule": {"kind": "scaled_linear"}, "latent_channels": tiny.LATENT[0], "latent_packing": 1,
        "condition_packing": 4,
        "as_latents": list(as_latents),
    }  # fmt: skip
    return VcmControl(tiny.randomised(tiny.build_control(networks, {s.name: s.channels for s in specs})), specs).eval()


def skull(array: np.ndarray) -> Condition:
    return Condition(ConditionSpec.from_dict(tiny.CONDITIONS[1]), Volume(array.astype(np.float32), tiny.GRID))


def lopsided() -> np.ndarray:
    """A skull that is different from every side."""
    i, j, k = np.indices(tiny.GRID.shape)
    image = (1 + i * 3 + j * 2 + k) / 200 * (i < 13) * (i > 1) * (k > 4)
    image[4:9, 6:17, 8:25] = 0
    return image.astype(np.float32)
