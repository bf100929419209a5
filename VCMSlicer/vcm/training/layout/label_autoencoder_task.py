"""Teaching the autoencoder of a layout to give label maps back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn

from vcm.models.layout.label_autoencoder import LabelAutoencoder
from vcm.training.backbone.segmenter_task import mean_dice
from vcm.training.data.crops import crops_of
from vcm.training.layout.label_cache import LabelCache
from vcm.training.layout.settings import LabelAutoencoderSettings
from vcm.training.trainer.noise_steps import normal_like
from vcm.training.trainer.task import Outcome, Slot, TrainingTask, ValidationCase
from vcm.training.trainer.validation_sheet import row_of


class LabelAutoencoderTask(TrainingTask):
    """Label maps in memory and the network that learns to give them back."""

    columns = ("dice_ce", "off_standard")
    pictured = ("an unseen head", "its reconstruction")
    score, rising = "dice", True

    def __init__(
        self,
        settings: LabelAutoencoderSettings,
        network: LabelAutoencoder,
        cache: LabelCache,
        device: torch.device,
        unseen: LabelCache | None = None,
    ) -> None:
        self.settings, self.cache, self.unseen, self.device = settings, cache, unseen, device
        self.network: nn.Module = network
        self.identity: Mapping[str, str] = {"cases": cache.identity}
        self.validation_size = len(unseen) if unseen else 0
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """Dice and cross-entropy of these slots' heads, or of a part of each."""
        settings = self.settings
        mirrored = [slot.uniform() < settings.flip for slot in slots]
        maps = self.cache.labels([slot.item for slot in slots], mirrored)
        places = crops_of((maps[:, None] > 0).float(), settings.crop, slots)
        real = torch.stack([one[place] for one, place in zip(maps, places, strict=True)]).to(self.device)
        latent = network.encode(real).float()  # type: ignore[operator]
        centre, spread = moments(latent)
        noise = settings.noise * spread.detach().view(1, -1, 1, 1, 1) * normal_like(latent, slots)
        scores = network.decode(latent + noise).float()  # type: ignore[operator]
        off_standard = (centre.square() + (spread + 1e-6).log().square()).mean()
        fit = self._loss(scores, real[:, None])
        figures = {"dice_ce": fit.detach(), "off_standard": off_standard.detach()}
        return Outcome(fit + settings.standard * off_standard, figures)

    @torch.no_grad()
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """The mean Dice of what is given back of unseen heads, also with the noise of the training in their latents."""
        assert self.unseen is not None
        for place in places:
            real = self.unseen.labels([place], [False]).to(self.device)
            latent = network.encode(real)  # type: ignore[operator]
            noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(place)).to(latent)
            noise = self.settings.noise * moments(latent)[1].view(1, -1, 1, 1, 1) * noise
            made, shaken = (
                network.decode(z)[0].argmax(0)  # type: ignore[operator]
                for z in (latent, latent + noise)
            )
            figures = {"dice": mean_dice(made, real[0]), "dice_shaken": mean_dice(shaken, real[0])}
            pair = [one.cpu().numpy() / (self.unseen.maps.max().item() or 1) for one in (real[0], made)]
            yield ValidationCase(place, figures, row_of(pair, self.unseen.grid))


def moments(latent: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of latents `[B, C, i, j, k]`."""
    values = latent.float()
    return values.mean(dim=(0, 2, 3, 4)), values.std(dim=(0, 2, 3, 4))
