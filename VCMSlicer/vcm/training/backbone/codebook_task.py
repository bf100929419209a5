"""Teaching an autoencoder with a codebook, in two stages: patches and codes first, then the decoder on whole images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vcm.training.backbone.autoencoder_task import AutoencoderTask, edge_error, psnr
from vcm.training.data.crops import crops_of
from vcm.training.trainer.task import Outcome, Slot, ValidationCase
from vcm.training.trainer.validation_sheet import row_of


class CodebookTask(AutoencoderTask):
    """As for other autoencoders, but for the latent: it is replaced by its nearest codes, which follow what they stand
    for as moving averages, and stays near them.

    In the second stage encoder and codes rest, so that latents, and a denoiser of them, stay valid.
    """

    columns = ("l1", "edges", "commitment", "codes", "seen", "deceived")

    def __init__(self, settings: Any, network: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(settings, network, *arguments, **options)
        self.edge = network.patch_size
        if settings.stage == 2:
            network.requires_grad_(False)
            network.decoder.requires_grad_(True)
            network.post_vq_conv.requires_grad_(True)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """What image and reconstruction differ by, how far latents lie from codes, and what the adversary says."""
        settings, learned = self.settings, _with_codes(network)
        real = self._crops(slots, [slot.uniform() < settings.flip for slot in slots])
        if settings.stage == 2:
            with torch.no_grad():
                codes = learned.codebook.quantise(learned.encode(real * 2 - 1).float())
            commitment, used = torch.zeros((), device=real.device), 0.0
        else:
            latent = learned.encode(real * 2 - 1).float()
            used = learned.codebook.follow(latent.detach(), slots[0].generator)
            nearest = learned.codebook.quantise(latent.detach())
            commitment = functional.mse_loss(latent, nearest)
            codes = latent + (nearest - latent).detach()
        made = (learned.decode(codes).float() + 1) / 2
        l1, edges = functional.l1_loss(made, real), edge_error(made, real)
        loss = l1 + settings.edges * edges + settings.commitment * commitment
        if settings.squared:
            loss = loss + settings.squared * functional.mse_loss(made, real)
        loss, seen, deceived = self._judged(loss, made, real, step)
        figures: dict[str, Tensor | float] = {
            "l1": l1, "edges": edges, "commitment": commitment, "codes": used, "seen": seen, "deceived": deceived
        }  # fmt: skip
        logged = {name: value.detach() if isinstance(value, Tensor) else value for name, value in figures.items()}
        return Outcome(loss, logged, shown=(real, made.detach()))

    @torch.no_grad()
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """L1 and PSNR (in dB, of intensities in 0–1) of whole images through their codes."""
        assert self.unseen is not None
        learned = _with_codes(network)
        for place in places:
            real = self.unseen.image([place], [False], self.device)
            codes = learned.codebook.quantise(learned.encode(real * 2 - 1).float())
            made = (learned.decode(codes).float() + 1) / 2
            figures = {"l1": float(functional.l1_loss(made, real)), "psnr": psnr(made, real)}
            pair = [real[0, 0].cpu().numpy(), made[0, 0].cpu().numpy()]
            yield ValidationCase(place, figures, row_of(pair, self.grid))

    def _crops(self, slots: Sequence[Slot], mirrored: Sequence[bool]) -> Tensor:
        """In the first stage parts of the size of a patch, if the settings do not say otherwise."""
        images = self.cache.image([slot.item for slot in slots], mirrored, self.device)
        edge = self.settings.crop or (self.edge if self.settings.stage == 1 else 0)
        places = crops_of(images, edge, slots)
        return torch.stack([image[(slice(None), *place)] for image, place in zip(images, places, strict=True)])


def _with_codes(network: nn.Module) -> Any:
    """The network, as one with `encode`, `codebook` and `decode`."""
    return network
