"""What is learned from, computed once: latents as the backbone sees them, mirrored ones, conditions, attributes.

One file a case, with a hash of its content: an interrupted run goes on where it stopped, a damaged file is made again,
and so is one whose case or autoencoder has changed. Conditions that a file lacks are added to it. A case that cannot be
read is reported and left out.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from vcm.cohort.learning_cases import LearningCase
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.core.errors import Code, VcmError
from vcm.core.reading import refuse_unordinary
from vcm.machine.runtime import autocast_bf16, free_memory
from vcm.models.backbones.backbone import Backbone
from vcm.models.preparers.preparer import PREPARERS
from vcm.outputs.atomic_files import atomic_path
from vcm.outputs.claims import Claim, Mode, is_unfinished
from vcm.training.trainer.team import Team

SHARE_OF_MEMORY = 0.25
"""How much of a GPU's free memory the cache may take."""

_BITS = torch.from_numpy(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32))
"""The eight voxels of a mask that a byte stands for, as `np.packbits` packs them."""

CACHED = re.compile(r".+\.safetensors")
CASE_FAULTS = {Code.FILE_MISSING, Code.FILE_UNREADABLE, Code.GEOMETRY, Code.CONDITION, Code.ATTRIBUTE}
"""What may be wrong with one case and leaves the others usable."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Latents `[B, *latent_shape]`, their spreads, conditions, attributes `[B, n]`.

    The conditions are as the control's encoders see them: `{name: [B, channels, i, j, k]}`, some of them as latents.
    """

    latent: Tensor
    conditions: dict[str, Tensor]
    attributes: Tensor
    spread: Tensor | None = None


def cache_cases(
    backbone: Backbone,
    fingerprint: str,
    cases: Sequence[LearningCase],
    specs: Sequence[ConditionSpec],
    folder: Path,
    team: Team,
    say: Callable[[str], object],
    ways: Mapping[str, str] = MappingProxyType({}),
) -> list[LearningCase]:
    """See to it that every case is cached, the work shared by the team; returns those that are.

    `fingerprint` is the SHA-256 of the backbone's autoencoder. Of the conditions in `ways`, which name their
    preparers, latents are kept too.
    """
    names = needed_tensors(specs, ways)
    mine = team.share(len(cases))
    usable = set(mine)
    lacking = [number for number in mine if read_case(folder, cases[number], fingerprint, names) is None]
    if lacking or is_unfinished(folder):
        with Claim(folder, mode=Mode.SHARED, state=CACHED, of_ours=_is_cached):
            for done, number in enumerate(lacking, 1):
                case = cases[number]
                try:
                    there = read_case(folder, case, fingerprint, set()) or {}
                    write_case(folder, case, fingerprint, encode_case(backbone, case, specs, ways, there))
                except VcmError as error:
                    if error.code not in CASE_FAULTS:
                        raise
                    usable.remove(number)
                    say(f"Case {case.name} is left out. {error.sentence}")
                if done % 20 == 0 and team.first:
                    say(f"latents of {done * team.size} of {len(lacking) * team.size} cases are there")
    team.wait()
    others = set(range(len(cases))) - set(mine)
    usable |= {number for number in others if read_case(folder, cases[number], fingerprint, names) is not None}
    if not usable:
        raise VcmError(Code.BAD_REQUEST, f"None of the {len(cases)} cases can be used for training.")
    return [cases[number] for number in sorted(usable)]


@torch.no_grad()
def encode_case(
    backbone: Backbone,
    case: LearningCase,
    specs: Sequence[ConditionSpec],
    ways: Mapping[str, str] = MappingProxyType({}),
    there: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """The tensors of one case: means and spreads `[2, *latent_shape]` (as it is, mirrored), before the backbone's own
    whitening, conditions, attributes.

    What is `there` is kept: another control on the same cases need not encode the images again.
    """
    missing = [spec.name for spec in backbone.attributes if spec.name not in case.attributes]
    if missing:
        raise VcmError(Code.ATTRIBUTE, f"It lacks the attribute {', '.join(missing)}.")
    tensors = dict(there)
    if "latents" not in tensors:
        tensors["latents"], tensors["spreads"] = _both_sides(backbone, case.image())
    tensors["attributes"] = torch.tensor([case.attributes[spec.name] for spec in backbone.attributes])
    arrays = case.conditions([spec for spec in specs if not needed_tensors([spec], ways) <= set(there)])
    for spec in specs:
        if spec.name in arrays:
            tensors[_condition_of(spec.name)] = _stored(spec, arrays[spec.name])
    for name, way in ways.items():
        if name in arrays:
            image = PREPARERS[way]().image_to_encode(arrays[name], backbone)
            tensors[_latent_of(name)] = _both_sides(backbone, image)[0]
    return tensors


def needed_tensors(specs: Iterable[ConditionSpec], ways: Iterable[str]) -> set[str]:
    """What a case's file must hold for these conditions, and the latents of those in `ways`."""
    names = [spec.name for spec in specs]
    return {*map(_condition_of, names), *(_latent_of(name) for name in ways if name in names)}


def write_case(folder: Path, case: LearningCase, fingerprint: str, tensors: Mapping[str, Tensor]) -> None:
    """Put a case's file in place."""
    metadata = {"autoencoder": fingerprint, "case": case.stamp, "content": _digest(tensors)}
    with atomic_path(_path(folder, case)) as temporary:
        save_file(dict(tensors), temporary, metadata=metadata)


def _is_cached(file: Path) -> bool:
    """Whether a file is of the cache, made by an earlier version."""
    try:
        with safe_open(file, "pt") as opened:
            return {"autoencoder", "case", "content"} <= set(opened.metadata() or {})
    except (OSError, SafetensorError):
        return False


def read_case(folder: Path, case: LearningCase, fingerprint: str, needed: AbstractSet[str]) -> dict[str, Tensor] | None:
    """What is cached of a case, or None where nothing is, or not all that is `needed`, or not as it was written."""
    try:
        refuse_unordinary(_path(folder, case))
        with safe_open(_path(folder, case), "pt") as file:
            metadata = file.metadata() or {}
            if (metadata.get("autoencoder"), metadata.get("case")) != (fingerprint, case.stamp):
                return None
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (VcmError, OSError, SafetensorError, ValueError, KeyError):
        return None
    whole = metadata.get("content") == _digest(tensors)
    return tensors if whole and needed <= set(tensors) else None


class LatentCache:
    """Cached cases in memory; item n is case n, and each batch says which of its items are mirrored.

    With a GPU as `device` they lie in its memory if that has room: a control of a small backbone would else wait longer
    for its batches than it computes.
    """

    def __init__(
        self,
        folder: Path,
        cases: Sequence[LearningCase],
        fingerprint: str,
        specs: Sequence[ConditionSpec],
        backbone: Backbone,
        ways: Mapping[str, str] = MappingProxyType({}),
        device: torch.device | str = "cpu",
    ) -> None:
        self.specs, self.grid, self.names = tuple(specs), backbone.grid, tuple(case.name for case in cases)
        mean, std = backbone.own_whitening()
        needed = needed_tensors(specs, ways)
        kept = ("latents", "spreads", "attributes", *sorted(needed))

        def read(case: LearningCase) -> dict[str, Tensor]:
            tensors = read_case(folder, case, fingerprint, needed)
            if tensors is None:
                raise VcmError(
                    Code.FILE_UNREADABLE, f"The latents of case {case.name} have changed since a moment ago."
                )
            for name in ("latents", *map(_latent_of, ways)):
                tensors[name] = ((tensors[name].float() - mean) / std).half()
            tensors["spreads"] = (tensors["spreads"].float() / std).half()
            return {name: tensors[name] for name in kept}

        with ThreadPoolExecutor() as threads:
            there = list(threads.map(read, cases))
        tensors = {name: torch.stack([one[name] for one in there]) for name in kept}
        self.home = _room_for(sum(tensor.nbytes for tensor in tensors.values()), torch.device(device))
        tensors = {name: tensor.to(self.home) for name, tensor in tensors.items()}
        self.latents, self.spreads, self.attributes = (tensors[name] for name in ("latents", "spreads", "attributes"))
        self._given = {name: tensors[_latent_of(name)] for name in ways}
        self._bits = _BITS.to(self.home)
        self._conditions = {spec.name: tensors[_condition_of(spec.name)] for spec in self.specs}

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def identity(self) -> str:
        """What cases these are, in one word."""
        return hashlib.sha256(" ".join(self.names).encode()).hexdigest()[:16]

    def batch(self, items: Sequence[int], mirrored: Sequence[bool], device: torch.device | str = "cpu") -> Batch:
        """The items as one batch, in fp32."""
        which = torch.as_tensor(items, device=self.home)
        side = torch.as_tensor(mirrored, device=self.home).long()
        conditions = {name: latents[which, side].to(device).float() for name, latents in self._given.items()}
        for spec in self.specs:
            if spec.name not in conditions:
                conditions[spec.name] = self.voxels(spec, items, mirrored).to(device)
        return Batch(
            self.latents[which, side].to(device).float(),
            conditions,
            self.attributes[which].to(device),
            self.spreads[which, side].to(device).float(),
        )

    def voxels(self, spec: ConditionSpec, items: Sequence[int], mirrored: Sequence[bool] | None = None) -> Tensor:
        """A condition of these items in fp32, `[B, channels, i, j, k]`; where the cache lies."""
        stored = self._conditions[spec.name][torch.as_tensor(items, device=self.home)]
        turned = torch.tensor([n for n, flip in enumerate(mirrored or ()) if flip], dtype=torch.long, device=self.home)
        if spec.kind is Kind.MASK:
            bits = self._bits.index_select(0, stored.flatten().int())
            array = bits.view(len(items), -1)[:, : math.prod(self.grid.shape)].view(len(items), 1, *self.grid.shape)
        else:
            array = stored[:, None]
        if len(turned):
            array[turned] = array[turned].flip(2 + self.grid.left_right)
        if spec.kind is Kind.LABELS:
            values = torch.tensor([structure.value for structure in spec.classes], device=self.home)
            return (array == values.to(array.dtype).view(1, -1, 1, 1, 1)).float()
        return array if spec.kind is Kind.MASK else array.float() / 255

    def typical(self, spec: ConditionSpec, shape: tuple[int, int, int]) -> Tensor:
        """The mean of a condition over all items and their mirror images, `[channels, *shape]` on a coarser grid."""
        total = torch.zeros(spec.channels, *shape, device=self.home)
        for item in range(len(self)):
            total += functional.adaptive_avg_pool3d(self.voxels(spec, [item])[0], shape)
        return ((total + total.flip(1 + self.grid.left_right)) / (2 * len(self))).cpu()


def _room_for(size: int, device: torch.device) -> torch.device:
    """The device, if it is a GPU whose free memory so many bytes leave mostly to the training; else the processor."""
    fits = device.type == "cuda" and size < SHARE_OF_MEMORY * free_memory(device)
    return device if fits else torch.device("cpu")


def _both_sides(backbone: Backbone, array: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Means and spreads of an image's latent and of its mirror image's."""
    device = next(backbone.parameters()).device
    own_mean, own_std = (part.to(device) for part in backbone.own_whitening())
    plain = torch.from_numpy(array).to(device)[None, None]
    means, spreads = [], []
    for image in (plain, plain.flip(2 + backbone.grid.left_right)):
        with autocast_bf16(device):
            mean, spread = backbone.posterior(image)
        means.append(mean.float() * own_std + own_mean)
        spreads.append(spread.float() * own_std)
    return torch.cat(means).half().cpu(), torch.cat(spreads).half().cpu()


def _stored(spec: ConditionSpec, array: NDArray[Any]) -> Tensor:
    """Masks as bits, labels as they are, images in 255 steps."""
    if spec.kind is Kind.MASK:
        return torch.from_numpy(np.packbits(array != 0))
    if spec.kind is Kind.LABELS:
        return torch.from_numpy(np.asarray(array, np.uint8).copy())
    return torch.from_numpy(np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8))


def _condition_of(name: str) -> str:
    return f"condition.{name}"


def _latent_of(name: str) -> str:
    return f"latent.{name}"


def _path(folder: Path, case: LearningCase) -> Path:
    return folder / f"{case.name}.safetensors"


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
