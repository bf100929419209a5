"""What the controls beside VCM share: conditions as the channels of one tensor, and how a network is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.backbone import Residuals, Site, dtype_of
from vcm.models.backbones.latents import pad_to
from vcm.models.controls.control import Control, Step
from vcm.models.preparers.preparer import PREPARERS
from vcm.packs.manifest import BackboneManifest


class NetworkControl(Control):
    """A control around `network_class`, which is made from `{condition: channels}` and the manifest's `networks`.

    All have in these the backbone's `latent_shape`, and the `packing` with which its own network sees the latent.
    """

    network_class: ClassVar[Callable[..., nn.Module]]

    def __init__(
        self, network: nn.Module, conditions: Sequence[ConditionSpec], scale_factor: float | None = None
    ) -> None:
        super().__init__()
        self.network, self.conditions, self.scale_factor = network, tuple(conditions), scale_factor

    @classmethod
    def create(
        cls, networks: Mapping[str, Any], conditions: Sequence[ConditionSpec], scale_factor: float | None = None
    ) -> Control:
        """A control with random weights."""
        options = {name: value for name, value in networks.items() if name != "variant"}
        latent = int(networks["latent_shape"][0])
        channels = {
            spec.name: latent if PREPARERS[spec.preparer or "voxels"].makes_latents else spec.channels
            for spec in conditions
        }
        return cls(cls.network_class(channels, **options), conditions, scale_factor)


class ConstantResiduals(NetworkControl):
    """A control whose network makes residuals of the conditions alone: once a Sample, the same at every step.

    The network is called with the conditions and the names of those that act.
    """

    needs_residuals = True

    def prepare(
        self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]
    ) -> dict[frozenset[str], Residuals]:
        """The residuals of each set of conditions."""
        given = {name: c.to(dtype_of(self.network)) for name, c in conditions.items()}
        return {subset: self.network(given, subset) for subset in subsets}

    def guide(self, step: Step, state: Mapping[frozenset[str], Residuals], active: frozenset[str]) -> Tensor:
        """The prediction of the backbone with these residuals."""
        return step.predict(residuals=state[active])


class Planes(nn.Module):
    """A network that sees conditions of so many channels on the latent's grid."""

    channels: dict[str, int]
    latent_shape: tuple[int, ...]


class PlanesControl(NetworkControl):
    """A control whose network sees the conditions on the latent's grid."""

    network: Planes

    def prepare(
        self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]
    ) -> dict[frozenset[str], Tensor]:
        """The conditions' channels, brought to that grid by averages, for each set of them."""
        given = {name: c.to(dtype_of(self.network)) for name, c in conditions.items()}
        _, *grid = self.network.latent_shape
        return {subset: join(self.network.channels, given, subset, grid) for subset in subsets}

    def condition_elements(self, shape: Sequence[int]) -> int:
        """The conditions' own voxels."""
        return math.prod(shape) * sum(self.network.channels.values())


def join(
    channels: Mapping[str, int],
    conditions: Mapping[str, Tensor],
    active: frozenset[str] | None,
    size: Sequence[int],
    whole: Sequence[int] | None = None,
) -> Tensor:
    """The conditions' channels one after another, `[B, ΣC, *size]`; those missing or not in `active` are zeros.

    They are brought to `size` by averages, and with zeros at their ends to `whole`.
    """
    example = next(iter(conditions.values()))
    parts = []
    for name, count in channels.items():
        given = conditions.get(name) if active is None or name in active else None
        if given is None:
            given = example.new_zeros(len(example), count, *size)
        elif tuple(given.shape[2:]) != tuple(size):
            i, j, k = size
            given = functional.adaptive_avg_pool3d(given, (i, j, k))
        parts.append(given)
    return pad_to(torch.cat(parts, dim=1), whole or size)


def latent_config(manifest: BackboneManifest) -> dict[str, Any]:
    """What every control's `networks` say of the latent."""
    return {"latent_shape": list(manifest.latent.shape), "packing": manifest.latent.packing}


def places_of(latent_shape: Sequence[int], packing: int) -> list[int]:
    """The grid on which the backbone's network works, without padding."""
    return [size // packing for size in latent_shape[1:]]


def least_shrinking(manifest: BackboneManifest) -> int:
    """How many voxels a place of that grid covers, along the axis where it covers fewest."""
    places = places_of(manifest.latent.shape, manifest.latent.packing)
    return min(n // count for n, count in zip(manifest.grid.shape, places, strict=True))


def silent(channels: int) -> nn.Conv3d:
    """A zero-initialised convolution of single places."""
    layer = nn.Conv3d(channels, channels, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def sites_as_dict(sites: Iterable[Site]) -> list[list[int]]:
    """For a manifest: `[channels, i, j, k]` each."""
    return [[site.channels, *site.grid] for site in sites]


def refuse_released(variant: str) -> None:
    """Only VCM has been released."""
    if variant == "released":
        raise VcmError(
            Code.BAD_REQUEST,
            "No weights of this kind of control were ever released, so it has no variant released.",
            'Choose variant = "small" or "paper".',
        )


def with_changes(config: Mapping[str, Any], variant: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The networks of a variant with the parts that `changes` overrides; parts that are tables are merged."""
    if unknown := sorted(changes.keys() - config.keys()):
        raise VcmError(
            Code.BAD_REQUEST,
            f"A network of the variant {variant} has no part {', '.join(unknown)} that network could change.",
            f"It has: {', '.join(config)}.",
        )
    merged = {**config, **changes}
    for part, value in config.items():
        if isinstance(value, dict):
            merged[part] = {**value, **changes.get(part, {})}
    return merged
