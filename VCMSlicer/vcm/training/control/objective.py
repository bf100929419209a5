"""The loss of a step of a control's training: VCM's Eq. 4, from a batch's tensors and nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control, Step
from vcm.models.process import Prediction
from vcm.training.control.losses import WEIGHTINGS, control_loss
from vcm.training.control.settings import ControlSettings
from vcm.training.trainer.noise_steps import Noisy, v_error


class ControlObjective(nn.Module):
    """The loss of a control, and the error of v that it leaves for the log.

    A batch is one flat table of tensors, so that a CUDA graph can be made of it.
    """

    def __init__(self, control: Control, backbone: Backbone, settings: ControlSettings) -> None:
        super().__init__()
        self.control, self.settings = control, settings
        self._backbone = (backbone,)  # not a part of what learns

    @staticmethod
    def table(
        conditions: Mapping[str, Tensor],
        kept: Mapping[str, Tensor] | None,
        noisy: Noisy,
        unguided: Tensor,
        inputs: Tensor,
        place: Tensor,
    ) -> dict[str, Tensor]:
        """The table of a batch; `kept` says of each condition which slots have it, None: all. `unguided` is the
        backbone's own prediction in the parameterisation that is guided."""
        return {
            **{f"condition.{name}": condition for name, condition in conditions.items()},
            **{f"kept.{name}": share.to(unguided.device) for name, share in (kept or {}).items()},
            **{f"noisy.{name}": tensor for name, tensor in vars(noisy).items()},
            "unguided": unguided,
            "inputs": inputs,
            "place": place,
        }

    def forward(self, table: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Loss and error of v."""
        backbone, noisy = self._backbone[0], Noisy(**_part(table, "noisy"))
        step = Step.on(backbone, table["inputs"], noisy.latent, noisy.t, table["unguided"])
        guided, penalty = self.control.learn(
            step, _part(table, "condition"), _part(table, "kept"), recompute=self.settings.recompute
        )
        predicted = Prediction(noisy.latent, guided.float(), step.kind).noise(noisy.alpha, noisy.sigma)
        weight = WEIGHTINGS[self.settings.weighting](noisy.alpha, noisy.sigma)
        loss = control_loss(predicted, noisy.noise, penalty, weight, table["place"], self._l1(noisy.latent))
        return loss, v_error(predicted.detach(), noisy)

    def _l1(self, latent: Tensor) -> float:
        """λ of Eq. 4 for the whole batch, also where only a part of it is computed at once."""
        channels, i, j, k = latent.shape[1:]
        l1 = self.settings.l1
        if not isinstance(l1, str):
            return float(l1)
        # The released code overwrites the number of channels with the last size before it uses it.
        return 1 / (self.settings.batch * (k if l1 == "released" else channels) * i * j * k)


def _part(table: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `head.`, without it."""
    return {name.removeprefix(f"{head}."): tensor for name, tensor in table.items() if name.startswith(f"{head}.")}
