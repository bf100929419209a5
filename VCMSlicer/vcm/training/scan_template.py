"""The head that scans are laid on: the mean of what a backbone was trained on, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vcm.errors import Code, VcmError
from vcm.training.registration import Template
from vcm.volume import Volume
from vcm.volumes.resampling import resample_image
from vcm.volumes.volume_files import read_volume

if TYPE_CHECKING:
    from vcm.packs.store import Pack


def template_of(pack: Pack, file: Path | None = None) -> Template:
    """A template on the Grid of a backbone pack, with the structures that a segmenter finds in it."""
    from vcm.judging.segmentation import PackSegmenter
    from vcm.packs.store import default_backbone, find_pack

    image = _from_file(pack, file) if file is not None else _mean_head(pack)
    judge = pack if "segmenter" in pack.backbone.files else find_pack(default_backbone())
    labels = PackSegmenter.from_pack(judge).segment(image)
    template = Template(image, labels, file.name if file is not None else f"the mean head of {pack.name}")
    if not template.brain.any():
        raise VcmError(
            Code.CONDITION, f"No brain was found in {template.source}.", "Give a T1w head with --template FILE."
        )
    return template


def _mean_head(pack: Pack) -> Volume:
    """What a whitened backbone decodes from the mean of its training latents, which its own latent counts from."""
    import torch

    from vcm.loading import load_backbone

    if not pack.backbone.latent.whitened:
        raise VcmError(
            Code.BAD_REQUEST,
            f"{pack.name} does not know the mean of the heads that it was trained on.",
            "Give a T1w head in its space with --template FILE, or use --registration none.",
        )
    backbone = load_backbone(pack)
    with torch.inference_mode():
        image = backbone.decode(torch.zeros(1, *backbone.latent_shape))[0, 0].numpy()
    return Volume(image.clip(0, 1), backbone.grid)


def _from_file(pack: Pack, file: Path) -> Volume:
    volume = read_volume(file)
    seen = resample_image(Volume(volume.array.astype(np.float32), volume.grid), pack.backbone.grid)
    found = seen.array.astype(np.float32)
    bright = float(np.percentile(found, 99.5))
    if bright <= 0:
        raise VcmError(
            Code.GEOMETRY,
            f"{file} shows nothing within the field of view of {pack.name}.",
            "Give a T1w head that lies where the model's heads lie, in MNI space.",
        )
    return Volume((found / bright).clip(0, 1), pack.backbone.grid)
