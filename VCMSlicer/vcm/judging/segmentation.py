"""Who judges a Sample: the pack's own segmentation network, or FreeSurfer's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vcm.anatomy.one_piece import largest_piece
from vcm.anatomy.structures import SEGMENTER_CLASSES
from vcm.conditions.condition import ClassSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.synthseg import SynthSeg
from vcm.packs.store import Pack
from vcm.volumes.resampling import resample_image, resample_labels

if TYPE_CHECKING:
    import torch
    from torch import nn

PREFERENCES = ("auto", "pack", "synthseg")


class Segmenter(Protocol):
    """Finds structures in an image with intensities in 0–1."""

    @property
    def name(self) -> str:
        """Who it is, in words."""

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The structures it finds, by the values of its labels."""

    def segment(self, image: Volume) -> Volume:
        """The structures as uint8 labels on the image's own Grid."""


def known_labels(segmenter: Segmenter | None) -> tuple[int, ...]:
    """The values of all labels that a segmenter knows; none where there is no segmenter."""
    return tuple(entry.value for entry in segmenter.classes) if segmenter else ()


class PackSegmenter:
    """A segmentation network with one output channel a label, background first, that works on one Grid.

    `classes` names the labels; `device` says where it runs; with `one_piece` only the largest piece of what it finds is
    kept. `places` `[labels, *grid.shape]` says where each label can lie; what is found elsewhere is background. An
    image on another Grid is brought onto this one and its labels back.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[ClassSpec],
        grid: Grid,
        *,
        name: str = "the pack's own segmenter",
        one_piece: bool = False,
        places: torch.Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name = name
        self.classes = tuple(classes)
        self.grid = grid
        self.one_piece = one_piece
        self.network = network.to(device).eval()
        self.device = device
        self.places = None if places is None else places.to(device)

    @classmethod
    def from_pack(cls, pack: Pack, *, device: torch.device | str = "cpu") -> PackSegmenter:
        """The segmenter of a backbone pack, its weights checked against the manifest."""
        from vcm.models.onednn import use_onednn
        from vcm.models.segmenter import load_places, load_segmenter

        manifest, network = pack.backbone, load_segmenter(pack)
        use_onednn(network)
        name = f"the own segmenter of {manifest.name}"
        return cls(
            network,
            manifest.segmenter_classes,
            manifest.grid,
            name=name,
            one_piece=manifest.segmenter_one_piece,
            places=load_places(pack),
            device=device,
        )

    def segment(self, image: Volume) -> Volume:
        """The labels of an image in 0–1 (values beyond are clipped), as uint8 on the image's own Grid."""
        import torch

        seen = resample_image(image, self.grid) if not image.grid.same_as(self.grid) else image
        array = torch.from_numpy(np.clip(seen.array, 0, 1, dtype=np.float32)).to(self.device)
        with torch.inference_mode():
            scores = self.network(_padded(array, self._multiple())[None, None])[0]
        i, j, k = self.grid.shape
        likeliest = scores[:, :i, :j, :k].argmax(0)
        if self.places is not None:
            likeliest = likeliest * self.places.gather(0, likeliest[None])[0]
        labels = likeliest.to("cpu", torch.uint8).numpy()
        found = Volume(largest_piece(labels) if self.one_piece else labels, self.grid)
        return found if seen is image else resample_labels(found, image.grid)

    def _multiple(self) -> int:
        """Sizes must divide by what the network's strides make together."""
        return math.prod(getattr(self.network, "strides", ()))


@dataclass(frozen=True)
class Choice:
    """The segmenter that will judge, or None, and the reason in a sentence."""

    segmenter: Segmenter | None
    sentence: str


def choose_segmenter(
    pack: Pack,
    preference: str = "auto",
    *,
    device: torch.device | str = "cpu",
) -> Choice:
    """Settle who judges the Samples of a backbone pack.

    `auto` takes the pack's own trained segmenter, else FreeSurfer's where it is installed, else none; `pack` and
    `synthseg` insist on one of them.
    """
    if preference not in PREFERENCES:
        raise VcmError(Code.BAD_REQUEST, f"The segmenter must be one of {', '.join(PREFERENCES)}, not {preference!r}.")
    manifest = pack.backbone
    own, trained = "segmenter" in manifest.files, manifest.trained.get("segmenter", True)
    if preference == "pack" or (preference == "auto" and own and trained):
        judge = PackSegmenter.from_pack(pack, device=device)
        doubt = "" if trained else " It is untrained, so its measurements mean nothing."
        return Choice(judge, f"Samples are measured by {judge.name}.{doubt}")
    freesurfer = SynthSeg.find()
    clash = _numbered_otherwise(manifest.segmenter_classes)
    if freesurfer and not clash:
        return Choice(freesurfer, f"Samples are measured by {freesurfer.name}, which takes minutes an image.")
    reason = clash or "FreeSurfer's mri_synthseg was not found on PATH or under FREESURFER_HOME."
    if preference == "synthseg":
        raise VcmError(Code.BAD_REQUEST, reason, "Install FreeSurfer 7.3 or newer, or leave the choice to the program.")
    lacking = f"The segmenter of {manifest.name} is untrained" if own else f"{manifest.name} has no segmenter"
    return Choice(None, f"Samples are not measured. {lacking}. {reason}")


def _numbered_otherwise(classes: Sequence[ClassSpec]) -> str:
    """Why FreeSurfer's labels cannot stand in for a pack's own, or nothing."""
    for spec in classes:
        ours = SEGMENTER_CLASSES.get(spec.value, ("unknown", ()))[0]
        if spec.name != ours:
            return f"mri_synthseg cannot judge this pack: its label {spec.value} is {spec.name}, not {ours}."
    return ""


def _padded(array: torch.Tensor, multiple: int) -> torch.Tensor:
    """Zeros after the last voxel of each axis, up to the next size that divides by `multiple`."""
    from torch.nn.functional import pad

    missing = [-size % multiple for size in array.shape]
    return pad(array, [n for size in reversed(missing) for n in (0, size)])
