"""What a step of a control's training makes small: VCM's Eq. 4, from a batch's tensors and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vcm.models.controls.vcm_control import ControlNetwork
from vcm.training.control.losses import WEIGHTINGS, control_loss
from vcm.training.control.settings import ControlSettings
from vcm.training.trainer.noise_steps import Noisy, v_error


class ControlObjective(nn.Module):
    """The loss of a control's network, and the error of v that it leaves for the log.

    A batch is one flat table of tensors, so that a CUDA graph can be made of it.
    """

    def __init__(self, network: ControlNetwork, settings: ControlSettings) -> None:
        super().__init__()
        self.network, self.settings = network, settings

    @staticmethod
    def table(
        conditions: Mapping[str, Tensor], kept: Mapping[str, Tensor] | None, noisy: Noisy, eps: Tensor, place: Tensor
    ) -> dict[str, Tensor]:
        """The table of a batch; `kept` says of each condition which slots have it, None: all."""
        return {
            **{f"condition.{name}": condition for name, condition in conditions.items()},
            **{f"kept.{name}": share.to(eps.device) for name, share in (kept or {}).items()},
            **{f"noisy.{name}": tensor for name, tensor in vars(noisy).items()},
            "eps": eps,
            "place": place,
        }

    def forward(self, table: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Loss and error of v."""
        network, eps = self.network, table["eps"]
        noisy = Noisy(**_part(table, "noisy"))
        recompute = self.settings.recompute
        encoded = encode(network, _part(table, "condition"), _part(table, "kept"), noisy.t, recompute=recompute)
        gamma, beta = network.modulation(noisy.latent, eps, noisy.t, encoded)
        gamma, beta = gamma.float(), beta.float()
        guided = eps * (1 + gamma) + beta
        weight = WEIGHTINGS[self.settings.weighting](noisy.alpha_bar)
        loss = control_loss(guided, noisy.noise, gamma, beta, weight, table["place"], self._l1(eps))
        return loss, v_error(guided.detach(), noisy)

    def _l1(self, latent: Tensor) -> float:
        """λ of Eq. 4 for the whole batch, also where only a part of it is computed at once."""
        channels, i, j, k = latent.shape[1:]
        l1 = self.settings.l1
        if not isinstance(l1, str):
            return float(l1)
        # The released code overwrites the number of channels with the last size before it uses it.
        return 1 / (self.settings.batch * (k if l1 == "released" else channels) * i * j * k)


def encode(
    network: ControlNetwork,
    conditions: Mapping[str, Tensor],
    kept: Mapping[str, Tensor] | None,
    t: Tensor | None,
    *,
    recompute: bool = False,
) -> dict[str, Tensor]:
    """The conditions' encodings, those that a slot does without multiplied by zero."""
    if recompute:
        parts = [conditions] if network.shared_encoder else [{name: c} for name, c in conditions.items()]
        encoded: dict[str, Tensor] = {}
        for part in parts:
            encoded |= checkpoint(network.encode, part, t=t, use_reentrant=False)
    else:
        encoded = network.encode(conditions, t=t)
    if not kept:
        return encoded
    return {name: one * kept[name].to(one)[:, None, None, None, None] for name, one in encoded.items()}


def _part(table: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `head.`, without it."""
    return {name.removeprefix(f"{head}."): tensor for name, tensor in table.items() if name.startswith(f"{head}.")}
