"""VCM as a Control: ε′ = ε·(1 + γ) + β, or the same of whatever the backbone's process has corrected."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.backbone import dtype_of
from vcm.models.backbones.latents import unpack
from vcm.models.controls.condition_encoder import ConditionEncoder
from vcm.models.controls.control import Control, Step
from vcm.models.controls.patch_encoder import PatchEncoder
from vcm.models.controls.patch_network import PatchNetwork
from vcm.models.controls.vcm_networks import VcmNetwork

if TYPE_CHECKING:
    from vcm.packs.manifest import BackboneManifest

Kept = Mapping[str, Tensor] | None


@dataclass(frozen=True)
class VcmState:
    """The conditions as tensors, and their encoding for each set of conditions that will act."""

    conditions: Mapping[str, Tensor]
    encoded: Mapping[frozenset[str], Mapping[str, Tensor]]


class VcmControl(Control):
    """A trained VCM with the conditions it was trained for: the published network, or that of small backbones."""

    network: VcmNetwork | PatchNetwork
    asks_plainly = True

    def __init__(
        self,
        network: VcmNetwork | PatchNetwork,
        conditions: tuple[ConditionSpec, ...],
        scale_factor: float | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.conditions = conditions
        self.scale_factor = scale_factor

    @classmethod
    def create(
        cls, networks: Mapping[str, Any], conditions: Sequence[ConditionSpec], scale_factor: float | None = None
    ) -> VcmControl:
        """A VCM with random weights; `variant` says which network."""
        options = {name: value for name, value in networks.items() if name != "variant"}
        kind = PatchNetwork if networks.get("variant") == "patches" else VcmNetwork
        network = kind({spec.name: spec.channels for spec in conditions}, **options)
        return cls(network, tuple(conditions), scale_factor)

    @classmethod
    def configure(
        cls, manifest: BackboneManifest, conditions: Sequence[ConditionSpec], variant: str, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The networks of a training: `small`, `paper` or `released`, with the parts that the user changed."""
        from vcm.models.controls.vcm_config import network_config

        return network_config(manifest, conditions, variant, changes)

    @classmethod
    def shipped(
        cls, networks: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The typical conditions of a small network are folded into its weights."""
        from vcm.models.controls.folding import fold_typical

        return fold_typical(networks, weights)

    def learnable(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A small network sees its typical conditions again."""
        from vcm.models.controls.folding import unfold_typical

        return unfold_typical(self.network, weights) if isinstance(self.network, PatchNetwork) else dict(weights)

    @property
    def preparers(self) -> dict[str, str]:
        """Images that the network takes as latents are heads without their brain, unless the manifest says else."""
        usual = {
            spec.name: "head-latent" if spec.name in self.network.as_latents else "voxels" for spec in self.conditions
        }
        return {spec.name: spec.preparer or usual[spec.name] for spec in self.conditions}

    @property
    def graphable(self) -> bool:  # type: ignore[override]
        """Whether it is the small network."""
        return isinstance(self.network, PatchNetwork)

    def prepare(self, conditions: Mapping[str, Tensor], subsets: Iterable[frozenset[str]]) -> VcmState:
        """Run the encoders over `{name: [1, channels, …]}` once; a timed encoder has to wait for its steps."""
        tensors = {name: c.to(dtype_of(self.network)) for name, c in conditions.items()}
        if self.network.time_in_encoder:
            return VcmState(tensors, {})
        if self.network.shared_encoder:
            return VcmState(tensors, {subset: self.network.encode(tensors, subset) for subset in subsets})
        each = self.network.encode(tensors)
        return VcmState(tensors, {s: {name: each[name] for name in s} for s in subsets})

    def guide(self, step: Step, state: VcmState, active: frozenset[str]) -> Tensor:
        """The modulated prediction."""
        prediction = step.predict()
        encoded = state.encoded.get(active)
        if encoded is None:
            encoded = self.network.encode(state.conditions, active, step.t[:1])
        gamma, beta = self.network.modulation(step.latent, prediction, step.t, encoded, self._inputs(step))
        return prediction * (1 + gamma.float()) + beta.float()

    def learn(
        self,
        step: Step,
        conditions: Mapping[str, Tensor],
        kept: Kept = None,
        *,
        recompute: bool = False,
        after_encoder: Callable[[], object] = lambda: None,
    ) -> tuple[Tensor, Tensor]:
        """The modulated prediction, and L1(γ) + L1(β) of Eq. 4."""
        prediction = step.predict()
        encoded = self._encode(conditions, kept, step.t, recompute, after_encoder)
        gamma, beta = self.network.modulation(step.latent, prediction, step.t, encoded, self._inputs(step))
        gamma, beta = gamma.float(), beta.float()
        return prediction * (1 + gamma) + beta, gamma.abs().mean() + beta.abs().mean()

    def expect(
        self, conditions: Mapping[str, Tensor], kept: Kept, inputs: Tensor, *, recompute: bool = False
    ) -> Tensor:
        """The clean latents that the conditions alone let expect; the small network has a head for it."""
        if not isinstance(self.network, PatchNetwork):
            return super().expect(conditions, kept, inputs)
        encoded = self._encode(conditions, kept, None, recompute)
        return unpack(self.network.expect(encoded, inputs)[1].float(), self.network.latent_packing)

    def condition_elements(self, shape: Sequence[int]) -> int:
        """Elements of the widest encoder's first tensor."""
        kinds = (ConditionEncoder, PatchEncoder)
        widths = [encoder.base for encoder in self.network.encoders.values() if isinstance(encoder, kinds)]
        return math.prod(shape) // self.network.shrinks**3 * max(widths)

    def _inputs(self, step: Step) -> Tensor | None:
        """The backbone's inputs, where the network asks for them."""
        return step.inputs if isinstance(self.network, PatchNetwork) and self.network.kinds > 1 else None

    def _encode(
        self,
        conditions: Mapping[str, Tensor],
        kept: Kept,
        t: Tensor | None,
        recompute: bool,
        after_encoder: Callable[[], object] = lambda: None,
    ) -> dict[str, Tensor]:
        """The conditions' encodings, those of conditions that an item does without multiplied by zero."""
        network = self.network
        parts = [conditions] if network.shared_encoder else [{name: c} for name, c in conditions.items()]
        encoded: dict[str, Tensor] = {}
        for part in parts:
            if recompute:
                encoded |= checkpoint(network.encode, part, t=t, use_reentrant=False)
            else:
                encoded |= network.encode(part, t=t)
            after_encoder()
        if not kept:
            return encoded
        return {name: one * kept[name].to(one)[:, None, None, None, None] for name, one in encoded.items()}
