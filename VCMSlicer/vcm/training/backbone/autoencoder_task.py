"""Teaching an autoencoder: to give images back sharp, from a latent that stays near a normal distribution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

from vcm.core.grid import Grid
from vcm.models.backbones.autoencoders import Autoencoder
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.segmenter_features import SegmenterFeatures
from vcm.training.backbone.spectral_power import power_share
from vcm.training.data.crops import crops_of
from vcm.training.data.image_cache import ImageCache
from vcm.training.trainer.noise_steps import normal_like
from vcm.training.trainer.task import Adversary, Outcome, Slot, TrainingTask, ValidationCase
from vcm.training.trainer.validation_sheet import row_of

BAND_MM = (7.5, 9.0)
"""The wavelengths of the folds that a latent of a quarter of the resolution can just hold."""
SHAKEN = 0.2
"""How much noise a validation adds to the latents, as a share of their spread: a denoiser's small errors."""


class AutoencoderTask(TrainingTask):
    """Images in memory and the network that learns to give them back."""

    columns = ("l1", "edges", "kl", "off_standard", "seen", "deceived")
    pictured = ("an unseen image", "its reconstruction")
    score, rising = "l1", False

    def __init__(
        self,
        settings: AutoencoderSettings,
        network: Autoencoder,
        cache: ImageCache,
        grid: Grid,
        device: torch.device,
        *,
        identity: Mapping[str, str],
        unseen: ImageCache | None = None,
        judge: SegmenterFeatures | None = None,
    ) -> None:
        self.settings, self.cache, self.unseen, self.grid, self.device = settings, cache, unseen, grid, device
        self.network: nn.Module = network
        self.identity, self.judge = identity, judge
        self.validation_size = len(unseen) if unseen else 0
        self.adversary: Adversary | None = None
        if settings.adversary and settings.adversary_from < 1:
            critic = PatchDiscriminator(
                spatial_dims=3, channels=settings.adversary_channels, in_channels=1, out_channels=1, num_layers_d=2,
                norm="INSTANCE",  # statistics over a batch would change with the number of processes
            ).to(device)  # fmt: skip
            start = int(settings.steps * settings.adversary_from)
            self.adversary = Adversary(critic, start, settings.adversary_rate)
        self._judge = PatchAdversarialLoss(criterion="least_squares")

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """What image and reconstruction differ by, how the latents are spread, and what the adversary makes of it."""
        settings = self.settings
        mirrored = [slot.uniform() < settings.flip for slot in slots]
        real = self._crops(slots, mirrored)
        mean, spread = network.encode(real)  # type: ignore[operator]
        latent = mean + self._noise_level(mean, spread, slots) * normal_like(mean, slots)
        made = network.decode(latent).float()  # type: ignore[operator]
        mean, spread = mean.float(), spread.float()
        l1, edges = functional.l1_loss(made, real), edge_error(made, real)
        kl = 0.5 * (mean.square() + spread.square() - 2 * spread.log() - 1).sum(dim=(1, 2, 3, 4)).mean()
        kl = kl / mean[0].numel()
        loss = l1 + settings.edges * edges + settings.kl * kl
        if settings.squared:
            loss = loss + settings.squared * functional.mse_loss(made, real)
        off_standard = _off_standard(mean)
        if settings.standard:
            loss = loss + settings.standard * off_standard
        loss, seen, deceived = self._judged(loss, made, real, step)
        figures = {
            "l1": l1, "edges": edges, "kl": kl, "off_standard": off_standard, "seen": seen, "deceived": deceived
        }  # fmt: skip
        logged = {name: value.detach() if isinstance(value, Tensor) else value for name, value in figures.items()}
        return Outcome(loss, logged, shown=(real, made.detach()))

    def _judged(
        self, loss: Tensor, made: Tensor, real: Tensor, step: int
    ) -> tuple[Tensor, Tensor | float, Tensor | float]:
        """The loss with what the segmenter sees and what the adversary makes of it, where they are asked, and these."""
        settings = self.settings
        seen: Tensor | float = 0.0
        if self.judge and settings.features:
            seen = self.judge.difference(made, real)
            loss = loss + settings.features * seen
        deceived: Tensor | float = 0.0
        if self.adversary and step >= self.adversary.start:
            critic = self.adversary.network.requires_grad_(False)
            deceived = self._judge(critic(made)[-1].float(), target_is_real=True, for_discriminator=False)
            critic.requires_grad_(True)
            loss = loss + settings.adversary * deceived
        return loss, seen, deceived

    def opposing(self, adversary: nn.Module, shown: tuple[Tensor, Tensor]) -> Tensor:
        """Least squares: real images should be judged 1, made ones 0."""
        real, made = shown
        on_real = self._judge(adversary(real)[-1].float(), target_is_real=True, for_discriminator=True)
        on_made = self._judge(adversary(made)[-1].float(), target_is_real=False, for_discriminator=True)
        loss: Tensor = 0.5 * (on_real + on_made)
        return loss

    @torch.no_grad()
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """L1, PSNR (in dB, of intensities in 0–1) and, on a fine grid, the share of fine detail's power, from the
        posterior's mean; and the PSNR with a little noise in the latents."""
        assert self.unseen is not None
        for place in places:
            real = self.unseen.image([place], [False], self.device)
            mean, _ = network.encode(real)  # type: ignore[operator]
            made = network.decode(mean).float()  # type: ignore[operator]
            noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(place)).to(mean)
            shaken = network.decode(mean + SHAKEN * _deviation(mean) * noise).float()  # type: ignore[operator]
            figures = {
                "l1": float(functional.l1_loss(made, real)),
                "psnr": psnr(made, real),
                "psnr_shaken": psnr(shaken, real),
            }
            if 2 * max(self.grid.spacing) <= min(BAND_MM):
                figures["power"] = power_share(made[0, 0], real[0, 0], self.grid.spacing, BAND_MM)
            pair = [real[0, 0].cpu().numpy(), made[0, 0].cpu().numpy()]
            yield ValidationCase(place, figures, row_of(pair, self.grid))

    def _crops(self, slots: Sequence[Slot], mirrored: Sequence[bool]) -> Tensor:
        """The images of these slots, or a part of each that is not air."""
        images = self.cache.image([slot.item for slot in slots], mirrored, self.device)
        places = crops_of(images, self.settings.crop, slots)
        return torch.stack([image[(slice(None), *place)] for image, place in zip(images, places, strict=True)])

    def _noise_level(self, mean: Tensor, spread: Tensor, slots: Sequence[Slot]) -> Tensor:
        if not self.settings.noise:
            return spread
        shares = torch.tensor([self.settings.noise * slot.uniform() for slot in slots], device=mean.device)
        return spread + shares.view(-1, 1, 1, 1, 1) * _deviation(mean)


def _deviation(mean: Tensor) -> Tensor:
    """The standard deviation of each channel of some latents, as a constant."""
    return mean.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)


def _off_standard(mean: Tensor) -> Tensor:
    """How far the channels are from mean 0 and standard deviation 1."""
    values = mean.float()
    centre, spread = values.mean(dim=(0, 2, 3, 4)), values.std(dim=(0, 2, 3, 4))
    return (centre.square() + (spread + 1e-6).log().square()).mean()


def psnr(made: Tensor, real: Tensor) -> float:
    """In dB, of intensities in 0–1."""
    return float(-10 * torch.log10(functional.mse_loss(made, real)))


def edge_error(made: Tensor, real: Tensor) -> Tensor:
    """L1 of finite differences, the mean over the three directions."""
    errors = [functional.l1_loss(made.diff(dim=axis), real.diff(dim=axis)) for axis in (2, 3, 4)]
    return torch.stack(errors).mean()
