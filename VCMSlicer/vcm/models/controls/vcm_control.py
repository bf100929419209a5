"""VCM as a Control: ε′ = ε·(1 + γ) + β."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.latent_diffusion import dtype_of
from vcm.models.controls.control import DenoiseLatent
from vcm.models.controls.patch_network import PatchNetwork
from vcm.models.controls.vcm_networks import VcmNetwork

ControlNetwork = VcmNetwork | PatchNetwork
"""What makes γ and β: the published VCM, or that of small backbones."""


@dataclass(frozen=True)
class VcmState:
    """The conditions as tensors, and their encoding for each set of conditions that will act."""

    conditions: Mapping[str, Tensor]
    encoded: Mapping[frozenset[str], Mapping[str, Tensor]]


class VcmControl(nn.Module):
    """A trained VCM with the conditions it was trained for."""

    def __init__(
        self, network: ControlNetwork, conditions: tuple[ConditionSpec, ...], scale_factor: float | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.conditions = conditions
        self.scale_factor = scale_factor

    @property
    def as_latents(self) -> frozenset[str]:
        return self.network.as_latents

    def encode(self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]) -> VcmState:
        """Run the encoders over `{name: [1, channels, …]}` once; a timed encoder has to wait for its steps."""
        tensors = {name: c.to(dtype_of(self.network)) for name, c in conditions.items()}
        if self.network.time_in_encoder:
            return VcmState(tensors, {})
        if self.network.shared_encoder:
            return VcmState(tensors, {subset: self.network.encode(tensors, subset) for subset in subsets})
        each = self.network.encode(tensors)
        return VcmState(tensors, {s: {name: each[name] for name in s} for s in subsets})

    def guide(
        self, denoise: DenoiseLatent, latent: Tensor, t: Tensor, state: VcmState, active: frozenset[str]
    ) -> Tensor:
        """The modulated ε of `latent` `[B, *latent_shape]` at `t` `[B]`."""
        eps = denoise(latent, t)
        encoded = state.encoded.get(active)
        if encoded is None:
            encoded = self.network.encode(state.conditions, active, t[:1])
        gamma, beta = self.network.modulation(latent, eps, t, encoded)
        return eps * (1 + gamma.float()) + beta.float()
