"""The VCM of small backbones: the clean latent that the conditions let expect, and steps that are pulled towards it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

from vcm.core.errors import Code, VcmError
from vcm.models.backbones.latents import pack, unpack
from vcm.models.controls.patch_encoder import PatchEncoder
from vcm.models.controls.vcm_networks import build_unet
from vcm.models.process import process_from


class Expectation(nn.Module):
    """From the conditions' encodings: features that sum them up, and the clean latent that they let expect, packed.

    A condition that is an image comes as the backbone's own latent, too, and that is taken over place by place and
    channel by channel, as far as it holds there: what an image fixes need not pass through the features.
    """

    def __init__(self, inputs: int, outputs: int, features: int, latents: int) -> None:
        super().__init__()
        self.latents = latents
        self.features = _leaky(inputs, features)
        self.clean = _silent(features, outputs)
        self.share = _silent(features, outputs * latents) if latents else None

    def forward(self, encoded: Tensor, latents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The features, and the expected latent."""
        features = self.features(encoded)
        expected = self.clean(features)
        if self.share is not None:
            for share, latent in zip(self.share(features).chunk(self.latents, dim=1), latents, strict=True):
                expected = expected + share * latent
        return features, expected


class PullingHeads(nn.Module):
    """γ, β, and how far the latent that the backbone predicts is pulled to the expected one; all zero at the start."""

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.shared = _leaky(inputs, hidden)
        self.gamma, self.beta, self.pull = (_silent(hidden, outputs) for _ in range(3))

    def forward(self, seen: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
        """γ and β; `apart` is how far the predicted clean latent lies from the expected one."""
        h = self.shared(seen)
        return self.gamma(h), self.beta(h) + self.pull(h) * apart


class PatchNetwork(nn.Module):
    """Encoders for the conditions, what they let expect, a U-Net over what a step knows, and heads for γ and β.

    All its work is done on the packed latent's grid (`places`), so that it trains on a processor. `channels` maps each
    condition to its number of input channels. A condition's voxels are averaged in blocks of `condition_pooling`, then
    folded into channels; `condition_gain` makes them louder: a mask fills a hundredth of a head. With a `typical_shape`
    the encoders see how a condition differs from the typical one, a tensor of that shape kept with the weights: a
    whitened latent does not say where it lies. Of the conditions in `as_latents` they are given the backbone's latents.

    With ẑ the clean latent the backbone predicts and x the expected one, v is moved by √(1−ᾱ)·g·(ẑ − x), with g the
    heads' pull: in ẑ itself that is (1−ᾱ)·g of the way to x, and g = 1 trusts the conditions as far as noise hides the
    latent. The mean of two opinions is linear in them, and no network of convolutions passes numbers on as exactly.
    Where the backbone shows several kinds of image, `kinds` of them named by its raw input `kind_input`, each kind has
    an expected latent of its own: the same ventricles are dark in one contrast and bright in another.
    γ and β are scaled by √ᾱ, so that one unit of them moves v by one unit at every noise level: where ᾱ is 10⁻⁴, ε is
    nearly the latent itself, and what decides the layout is a hundredth of it.
    """

    shared_encoder = False
    time_in_encoder = False

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        places: Sequence[int],
        width: int,
        features: int,
        hidden: int,
        unet: Mapping[str, Any],
        schedule: Mapping[str, Any],
        latent_channels: int,
        latent_packing: int,
        condition_packing: int,
        condition_pooling: int = 1,
        condition_gain: float = 1.0,
        typical_shape: Sequence[int] | None = None,
        as_latents: Sequence[str] = (),
        kinds: int = 1,
        kind_input: int = 0,
    ) -> None:
        super().__init__()
        self.kinds, self.kind_input = kinds, kind_input
        self.channels, self.as_latents = dict(channels), frozenset(as_latents) & frozenset(channels)
        self.latent_packing, self.condition_packing = latent_packing, condition_packing
        self.condition_pooling, self.condition_gain = condition_pooling, condition_gain
        self.shrinks = condition_packing * condition_pooling
        self.width, self.seen = width, latent_channels * latent_packing**3
        for name, count in self.channels.items() if typical_shape else ():
            if name not in self.as_latents:
                self.register_buffer(f"typical_{name}", torch.zeros(count, *(typical_shape or ())))
        folded = {name: count * condition_packing**3 for name, count in self.channels.items()}
        folded |= dict.fromkeys(self.as_latents, self.seen)
        self.encoders = nn.ModuleDict({name: PatchEncoder(count, width, places) for name, count in folded.items()})
        self.expectation = Expectation(width * len(channels), self.seen * kinds, features, len(self.as_latents))
        self.unet = build_unet({**unet, "in_channels": 3 * self.seen + features})
        self.heads = PullingHeads(int(unet["out_channels"]) + features, self.seen, hidden)
        self.process = process_from(schedule)

    def encode(
        self, conditions: Mapping[str, Tensor], active: frozenset[str] | None = None, t: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Each condition's encoding on the packed latent's grid, followed by its latent if it is one; only those that
        are `active`. The time plays no part."""
        encoded = {}
        for name, condition in conditions.items():
            if active is not None and name not in active:
                continue
            if name in self.as_latents:
                latent = pack(condition, self.latent_packing)
                encoded[name] = torch.cat([self.encoders[name](latent), latent], dim=1)
            else:
                encoded[name] = self.encoders[name](pack(self._unusual(name, condition), self.condition_packing))
        return encoded

    def expect(self, encoded: Mapping[str, Tensor], inputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The features and the expected latent, packed; encodings that are missing count as zeros.

        `inputs` are the backbone's, raw, one row for each latent; they are needed where there are several kinds.
        """
        example = next(iter(encoded.values()))
        parts, latents = [], []
        for name in self.channels:
            part = encoded.get(name)
            if part is None:
                count = self.width + (self.seen if name in self.as_latents else 0)
                part = example.new_zeros(len(example), count, *example.shape[2:])
            parts.append(part[:, : self.width])
            if name in self.as_latents:
                latents.append(part[:, self.width :])
        if self.kinds > 1:
            latents = [latent.repeat(1, self.kinds, 1, 1, 1) for latent in latents]
        features, expected = self.expectation(torch.cat(parts, dim=1), latents)
        if self.kinds > 1:
            assert inputs is not None, "a control of several kinds of image needs to know which one is made"
            chosen = inputs[:, self.kind_input].round().long()
            if not (int(chosen.min()) >= 0 and int(chosen.max()) < self.kinds):
                sentence = f"The control has learned {self.kinds} kinds of image, from 0 on, and was asked for another."
                raise VcmError(Code.BAD_REQUEST, sentence, "Choose one of the contrasts that the model names.")
            each = expected.unflatten(1, (self.kinds, self.seen)).expand(len(chosen), -1, -1, -1, -1, -1)
            expected = each[torch.arange(len(chosen), device=chosen.device), chosen]
        return features, expected

    def modulation(
        self, latent: Tensor, eps: Tensor, t: Tensor, encoded: Mapping[str, Tensor], inputs: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """γ and β, each like `eps`, from what `encode` gave."""
        shown, hidden = self.process.levels(t)
        v = (eps.float() - hidden * latent.float()) / shown
        predicted = shown * latent.float() - hidden * v
        features, expected = (part.expand(len(latent), -1, -1, -1, -1) for part in self.expect(encoded, inputs))
        packed = [pack(part, self.latent_packing).to(features.dtype) for part in (latent, v, predicted)]
        apart = packed.pop() - expected
        made = self.unet(torch.cat([*packed, apart, features], dim=1), timesteps=t)
        hidden = hidden.to(features.dtype)
        # A condition adds the less the more of the latent shows.
        gamma, beta = self.heads(torch.cat([made, features * hidden], dim=1), apart * hidden)
        return unpack(gamma, self.latent_packing) * shown, unpack(beta, self.latent_packing) * shown

    def _unusual(self, name: str, condition: Tensor) -> Tensor:
        """What the encoders are shown of a condition: averaged in blocks, less the typical one, and louder."""
        if self.condition_pooling > 1:
            condition = functional.avg_pool3d(condition, self.condition_pooling)
        typical = getattr(self, f"typical_{name}", None)
        if typical is not None:
            condition = condition - functional.interpolate(typical[None].to(condition), condition.shape[2:])
        return condition * self.condition_gain


def _leaky(inputs: int, outputs: int) -> Convolution:
    return Convolution(3, inputs, outputs, kernel_size=3, act=("leakyrelu", {"negative_slope": 0.01}), norm=None)


def _silent(inputs: int, outputs: int) -> Convolution:
    layer = Convolution(3, inputs, outputs, kernel_size=3, conv_only=True)
    nn.init.zeros_(layer.conv.weight)
    nn.init.zeros_(layer.conv.bias)
    return layer
