"""The head that a pack's heads resemble: its image, what a segmenter finds in it, and where its brain is.

Everything that has to lie where the model's heads lie is laid on this one. It is decoded from the pack's own weights,
so a pack that is trained anew, or in another pose, brings its own.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import EXTRAVENTRICULAR_CSF
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.packs.store import Pack, default_backbone, find_pack
from vcm.registration.reference import Reference
from vcm.volumes.brightness import brightness
from vcm.volumes.resampling import resample_image
from vcm.volumes.volume_files import read_volume, write_volume

ROLES = ("autoencoder", "whitening", "segmenter", "places")
"""The files of a pack that the head depends on."""


@dataclass(frozen=True, eq=False)
class Template:
    """A head where heads should lie: its image in 0–1, and its labels in the segmenter's classes on the same Grid."""

    image: Volume
    labels: Volume
    source: str

    @property
    def brain(self) -> NDArray[np.bool_]:
        return brain_of(self.labels.array)

    @cached_property
    def reference(self) -> Reference:
        """The same for a registration."""
        return Reference(self.image, self.brain, self.source)


def brain_of(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which voxels of the segmenter's classes are brain: all but the CSF around it."""
    return np.asarray((labels != 0) & (labels != EXTRAVENTRICULAR_CSF))


def has_typical_head(pack: Pack) -> bool:
    """Whether a backbone pack knows the mean of the heads that it was trained on, and can draw it."""
    return pack.backbone.latent.whitened and "autoencoder" not in pack.backbone.untrained


def template_of(pack: Pack, file: Path | None = None) -> Template:
    """A template on the Grid of a backbone pack, with the structures that a segmenter finds in it: the head in a file,
    or the pack's own mean head, which is kept for the next time."""
    judge = pack if "segmenter" in pack.backbone.files else find_pack(default_backbone())
    if file is not None:
        return _segmented(_from_file(pack, file), judge, file.name)
    source = f"the mean head of {pack.name}"
    if not has_typical_head(pack):
        raise VcmError(
            Code.BAD_REQUEST,
            f"{pack.name} does not know the mean of the heads that it was trained on.",
            f"Give a {pack.backbone.showing('head')} in its space with --template FILE.",
        )
    image_file, labels_file = _kept(pack, judge)
    with contextlib.suppress(VcmError):
        return Template(read_volume(image_file), read_volume(labels_file), source)
    template = _segmented(_mean_head(pack), judge, source)
    with contextlib.suppress(VcmError):  # where nothing can be kept, it is made anew
        write_volume(image_file, template.image)
        write_volume(labels_file, template.labels)
    return template


def _segmented(image: Volume, judge: Pack, source: str) -> Template:
    from vcm.judging.segmentation import PackSegmenter

    template = Template(image, PackSegmenter.from_pack(judge).segment(image), source)
    if not template.brain.any():
        raise VcmError(Code.CONDITION, f"No brain was found in {source}.", "Give another head.")
    return template


def _mean_head(pack: Pack) -> Volume:
    """What a whitened backbone decodes from the mean of its training latents."""
    from vcm.models.loading import load_backbone

    backbone = load_backbone(pack)
    image = backbone.typical_image()
    assert image is not None
    return Volume(image[0, 0].numpy().clip(0, 1), backbone.grid)


def _from_file(pack: Pack, file: Path) -> Volume:
    volume = read_volume(file)
    seen = resample_image(Volume(volume.array.astype(np.float32), volume.grid), pack.backbone.grid)
    found = seen.array.astype(np.float32)
    bright = brightness(found)
    if bright <= 0:
        raise VcmError(
            Code.GEOMETRY,
            f"{file} shows nothing within the field of view of {pack.name}.",
            f"Give a {pack.backbone.showing('head')} that lies where the model's heads lie.",
        )
    return Volume((found / bright).clip(0, 1), pack.backbone.grid)


def _kept(pack: Pack, judge: Pack) -> tuple[Path, Path]:
    """Where a mean head and its labels are kept, by the weights that they come from."""
    import platformdirs

    hashes = [p.backbone.files[role].sha256 for p in (pack, judge) for role in ROLES if role in p.backbone.files]
    key = hashlib.sha256(" ".join([*hashes, str(pack.backbone.grid.as_dict())]).encode()).hexdigest()[:16]
    folder = Path(platformdirs.user_cache_dir("vcm-slicer", appauthor=False)) / "mean-heads"
    return folder / f"{pack.name}-{key}.nii.gz", folder / f"{pack.name}-{key}-labels.nii.gz"
