"""Teaching an autoencoder: to give images back sharp, from a latent that stays near a normal distribution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import AutoencoderKL, PatchDiscriminator
from torch import Tensor, nn
from torch.nn import functional

from vcm.grid import Grid
from vcm.training.autoencoder_settings import AutoencoderSettings
from vcm.training.image_cache import ImageCache
from vcm.training.lesson import Adversary, Lesson, Outcome, Slot, Trial
from vcm.training.noise_steps import normal_like
from vcm.training.trial_sheet import row_of


class AutoencoderLesson(Lesson):
    """Images in memory and the network that learns to give them back."""

    columns = ("l1", "edges", "kl", "deceived")
    pictured = ("an unseen image", "its reconstruction")
    score, rising = "l1", False

    def __init__(
        self,
        settings: AutoencoderSettings,
        network: AutoencoderKL,
        cache: ImageCache,
        grid: Grid,
        device: torch.device,
        *,
        identity: Mapping[str, str],
        unseen: ImageCache | None = None,
    ) -> None:
        self.settings, self.cache, self.unseen, self.grid, self.device = settings, cache, unseen, grid, device
        self.network: nn.Module = network
        self.identity = identity
        self.trials = len(unseen) if unseen else 0
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
        """L1, L1 of the differences between neighbours, KL, and in the end what the adversary makes of it."""
        settings = self.settings
        mirrored = [slot.uniform() < settings.flip for slot in slots]
        real = self.cache.image([slot.item for slot in slots], mirrored, self.device)
        mean, spread = network.encode(real)  # type: ignore[operator]
        latent = mean + spread * normal_like(mean, slots)
        made = network.decode(latent).float()  # type: ignore[operator]
        mean, spread = mean.float(), spread.float()
        l1, edges = functional.l1_loss(made, real), _edge_error(made, real)
        kl = 0.5 * (mean.square() + spread.square() - 2 * spread.log() - 1).sum(dim=(1, 2, 3, 4)).mean()
        kl = kl / mean[0].numel()
        loss = l1 + settings.edges * edges + settings.kl * kl
        deceived: Tensor | float = 0.0
        if self.adversary and step >= self.adversary.start:
            critic = self.adversary.network.requires_grad_(False)
            deceived = self._judge(critic(made)[-1].float(), target_is_real=True, for_discriminator=False)
            critic.requires_grad_(True)
            loss = loss + settings.adversary * deceived
        figures = {"l1": l1.detach(), "edges": edges.detach(), "kl": kl.detach()}
        told = deceived.detach() if isinstance(deceived, Tensor) else deceived
        return Outcome(loss, {**figures, "deceived": told}, shown=(real, made.detach()))

    def opposing(self, adversary: nn.Module, shown: tuple[Tensor, Tensor]) -> Tensor:
        """Least squares: real images should be judged 1, made ones 0."""
        real, made = shown
        on_real = self._judge(adversary(real)[-1].float(), target_is_real=True, for_discriminator=True)
        on_made = self._judge(adversary(made)[-1].float(), target_is_real=False, for_discriminator=True)
        loss: Tensor = 0.5 * (on_real + on_made)
        return loss

    @torch.no_grad()
    def examine(self, network: nn.Module, places: Sequence[int]) -> Iterator[Trial]:
        """L1 and PSNR (in dB, of intensities in 0–1) on unseen images, from the posterior's mean."""
        assert self.unseen is not None
        for place in places:
            real = self.unseen.image([place], [False], self.device)
            mean, _ = network.encode(real)  # type: ignore[operator]
            made = network.decode(mean).float()  # type: ignore[operator]
            psnr = float(-10 * torch.log10(functional.mse_loss(made, real)))
            pair = [real[0, 0].cpu().numpy(), made[0, 0].cpu().numpy()]
            yield Trial(place, {"l1": float(functional.l1_loss(made, real)), "psnr": psnr}, row_of(pair, self.grid))


def _edge_error(made: Tensor, real: Tensor) -> Tensor:
    """L1 of finite differences, the mean over the three directions."""
    errors = [functional.l1_loss(made.diff(dim=axis), real.diff(dim=axis)) for axis in (2, 3, 4)]
    return torch.stack(errors).mean()
