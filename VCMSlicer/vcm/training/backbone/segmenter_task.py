"""Teaching a segmenter: Dice and cross entropy, on images and on what the autoencoder makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.nn import functional

from vcm.models.backbones.backbone import Backbone
from vcm.models.backbones.local_autoencoder import LocalAutoencoder
from vcm.training.backbone.segmenter_settings import SegmenterSettings
from vcm.training.data.crops import crops_of
from vcm.training.data.image_cache import ImageCache
from vcm.training.trainer.task import Outcome, Slot, TrainingTask, ValidationCase
from vcm.training.trainer.validation_sheet import row_of


class SegmenterTask(TrainingTask):
    """Images and labels in memory, the backbone whose images will be judged, and the network that learns to."""

    columns = ("dice_ce",)
    pictured = ("an unseen image", "what was found in its reconstruction")
    score, rising = "dice", True

    def __init__(
        self,
        settings: SegmenterSettings,
        network: nn.Module,
        backbone: Backbone,
        cache: ImageCache,
        *,
        identity: Mapping[str, str],
        unseen: ImageCache | None = None,
    ) -> None:
        self.settings, self.network, self.backbone = settings, network, backbone
        self.cache, self.unseen, self.identity = cache, unseen, identity
        self.device = next(backbone.parameters()).device
        self.validation_size = len(unseen) if unseen else 0
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
        self.multiple = 1
        for stride in getattr(network, "strides", ()):
            self.multiple *= stride

    def __len__(self) -> int:
        return len(self.cache)

    def outcome(self, network: nn.Module, slots: Sequence[Slot], step: int) -> Outcome:
        """The loss of these slots' labels."""
        items, settings = [slot.item for slot in slots], self.settings
        mirrored = [slot.uniform() < settings.flip for slot in slots]
        again = [slot.uniform() < settings.reconstructed for slot in slots]
        images = self.cache.image(items, mirrored, self.device)
        labels = self.cache.label(items, mirrored, self.device)
        places = [(slice(None), *place) for place in crops_of(images, settings.crop, slots)]
        image = torch.stack(
            [self._seen(one, place, sent) for one, place, sent in zip(images, places, again, strict=True)]
        )
        target = torch.stack([one[place] for one, place in zip(labels, places, strict=True)])
        target = self._padded(target)
        loss = self._loss(network(self._padded(image)).float(), target)
        return Outcome(loss, {"dice_ce": loss.detach()})

    @torch.no_grad()
    def validate(self, network: nn.Module, places: Sequence[int]) -> Iterator[ValidationCase]:
        """The mean Dice over the classes of unseen images, and of the autoencoder's reconstructions of them."""
        assert self.unseen is not None
        for place in places:
            image = self.unseen.image([place], [False], self.device).clamp(0, 1)
            target = self.unseen.label([place], [False], self.device)[0, 0]
            figures, found = {}, torch.zeros(())
            for name, seen in (("dice", image), ("dice_reconstructed", self._reconstructed(image))):
                i, j, k = target.shape
                found = network(self._padded(seen))[0, :, :i, :j, :k].argmax(0)
                figures[name] = mean_dice(found, target)
            shown = [image[0, 0].cpu().numpy(), found.cpu().numpy() / max(int(target.max()), 1)]
            yield ValidationCase(place, figures, row_of(shown, self.backbone.grid))

    def _seen(self, image: Tensor, place: tuple[slice, ...], through_autoencoder: bool) -> Tensor:
        """The part of an image `[1, i, j, k]` that a step sees, as it is or as the autoencoder gives it back; in 0–1,
        as the judge of samples sees them."""
        if not through_autoencoder:
            return image[place].clamp(0, 1)
        if isinstance(self.backbone.autoencoder, LocalAutoencoder):
            return self._reconstructed(image[place][None])[0]
        return self._reconstructed(image[None])[0][place]

    @torch.no_grad()
    def _reconstructed(self, image: Tensor) -> Tensor:
        return self.backbone.given_back(image).float().clamp(0, 1)

    def _padded(self, image: Tensor) -> Tensor:
        """Zeros after the last voxel of each axis, as the judge of samples adds them."""
        missing = [-size % self.multiple for size in image.shape[2:]]
        return functional.pad(image, [n for size in reversed(missing) for n in (0, size)])


def mean_dice(found: Tensor, target: Tensor) -> float:
    """Over the labels of the target but the background."""
    scores = []
    for value in target.unique().tolist():
        if value:
            a, b = found == value, target == value
            scores.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return sum(scores) / max(len(scores), 1)
