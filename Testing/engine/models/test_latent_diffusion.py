"""What stays inside a backbone: packing, whitening, scaling and the kind of prediction."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tiny
import torch
from vcm.models.backbones.latent_diffusion import LatentDiffusion
from vcm.models.backbones.latents import pack, unpack
from vcm.sampling.generator import seeded_noise


class Recorder(torch.nn.Module):
    """Stands where a denoiser stands: keeps what it is shown and answers what it was told to."""

    with_conditioning = True

    def __init__(self, answer: torch.Tensor, attributes: int = 4) -> None:
        super().__init__()
        self.answer, self.in_channels = answer, answer.shape[1] + attributes
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, timesteps, context):
        self.seen, self.times, self.context = x, timesteps, context
        return self.answer


@pytest.mark.parametrize("packing", [1, 2])
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("t", [0.0, 412.0, 999.0])
def test_whatever_the_denoiser_predicts_and_however_packed_eps_comes_out(packing, prediction, t):
    clean, eps = seeded_noise(1, tiny.LATENT)[None], seeded_noise(2, tiny.LATENT)[None]
    model = tiny.backbone(packing, prediction)
    a = float(model.process.alphas_cumprod[int(t)])
    latent = a**0.5 * clean + (1 - a) ** 0.5 * eps
    answer = eps if prediction == "epsilon" else a**0.5 * eps - (1 - a) ** 0.5 * clean
    model.denoiser = Recorder(pack(answer, packing))
    found = tiny.eps_of(model, latent, torch.tensor([t]), torch.tensor([[0.0, 0.25, 0.5, 0.75]]))
    assert torch.allclose(found, eps, atol=2e-4)
    shown = model.denoiser.seen
    assert torch.equal(unpack(shown[:, :-4], packing), latent)
    assert torch.equal(shown[0, -4:].flatten(1).T.unique(dim=0), torch.tensor([[0.0, 0.25, 0.5, 0.75]]))
    assert model.denoiser.context.shape == (1, 1, 4)


def test_between_two_timesteps_v_is_read_with_the_alpha_between_them():
    model = tiny.backbone(1, "v")
    latent, v = seeded_noise(1, tiny.LATENT)[None], seeded_noise(2, tiny.LATENT)[None]
    model.denoiser = Recorder(v)
    log_snr = np.log(model.process.alphas_cumprod / (1 - model.process.alphas_cumprod))
    a = 1 / (1 + np.exp(-(0.75 * log_snr[100] + 0.25 * log_snr[101])))
    found = tiny.eps_of(model, latent, torch.tensor([100.25]), torch.zeros(1, 4))
    assert torch.allclose(found, float((1 - a) ** 0.5) * latent + float(a**0.5) * v, atol=1e-4)


def test_a_denoiser_with_an_atlas_is_shown_the_mean_latent_packed_and_standardised_at_every_noise_level():
    plain = tiny.backbone(packing=2)
    mean = torch.arange(3 * 4 * 6 * 8.0).reshape(tiny.LATENT) ** 1.5  # no two places alike
    model = LatentDiffusion(
        grid=plain.grid,
        latent_shape=tiny.LATENT,
        process=plain.process,
        attributes=plain.attributes,
        autoencoder=plain.autoencoder,
        denoiser=Recorder(torch.zeros(2, 24, 2, 3, 4), attributes=4 + 24),
        packing=2,
        whitening=(mean, torch.ones(tiny.LATENT)),
        atlas=True,
    )
    model.predict(torch.zeros(2, *tiny.LATENT), torch.tensor([5.0, 900.0]), torch.zeros(2, 4))
    shown = unpack(model.denoiser.seen[:, 28:], 2)
    expected = torch.stack([(channel - channel.mean()) / channel.std() for channel in mean])
    assert torch.allclose(shown[0], expected, atol=1e-5)
    assert torch.equal(shown[0], shown[1])


def test_packing_puts_each_block_of_voxels_into_channels_in_array_order():
    latent = seeded_noise(3, tiny.LATENT)[None]
    packed = pack(latent, 2)
    for c, di, dj, dk in itertools.product(range(3), range(2), range(2), range(2)):
        assert torch.equal(packed[0, 8 * c + 4 * di + 2 * dj + dk], latent[0, c, di::2, dj::2, dk::2])


class Mirror(torch.nn.Module):
    """Stands where an autoencoder stands: the latent is the image's voxels, tripled, its spread half of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def encode(self, image):
        return image.expand(-1, 3, -1, -1, -1), image.expand(-1, 3, -1, -1, -1) / 2

    def decode(self, latent):
        return latent[:, :1]


@pytest.mark.parametrize("packing", [1, 2])
def test_decoding_takes_back_the_scaling_and_whitening_of_encoding(packing):
    model = tiny.backbone(packing)
    model.autoencoder, model.scale_factor = Mirror(), 0.4
    image = seeded_noise(5, (1, 1, *tiny.LATENT[1:]))
    latent = model.encode(image)
    expected = (image * 0.4 - model.latent_mean) / model.latent_std
    assert torch.allclose(latent, expected)
    mean, spread = model.posterior(image)
    assert torch.equal(mean, latent) and torch.allclose(spread, image * 0.2 / model.latent_std)
    assert torch.allclose(model.decode(latent), image, atol=1e-5)
    assert torch.allclose(model.decode(latent, 0.8), image / 2, atol=1e-5)


class Coarse(torch.nn.Module):
    """A denoiser of two levels: it refuses odd sizes and answers with its input, averaged over blocks of two voxels."""

    with_conditioning = False
    in_channels, block_out_channels = 28, (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x, timesteps, context):
        assert not any(size % 2 for size in x.shape[2:]), x.shape
        self.seen = x
        return (
            torch.nn.functional.avg_pool3d(x[:, :24], 2)
            .repeat_interleave(2, 2)
            .repeat_interleave(2, 3)
            .repeat_interleave(2, 4)
        )


def test_latents_that_the_levels_cannot_halve_are_shown_with_zeros_at_their_ends():
    shape = (3, 6, 4, 10)  # packed by 2: 3 × 2 × 5
    whole = tiny.backbone()
    model = LatentDiffusion(
        grid=whole.grid.downsampled((24, 16, 40)), latent_shape=shape, process=whole.process,
        attributes=whole.attributes, autoencoder=whole.autoencoder, denoiser=Coarse(), packing=2,
    )  # fmt: skip
    latent = torch.randn(2, *shape)
    eps = model.predict(latent, torch.tensor([100.0, 900.0]), torch.rand(2, 4))
    assert eps.shape == latent.shape
    seen = model.denoiser.seen
    assert seen.shape == (2, 28, 4, 2, 6)
    packed = pack(latent, 2)
    assert torch.equal(seen[:, :24, :3, :, :5], packed)
    assert not seen[:, :, 3:].any() and not seen[..., 5:].any()
    assert torch.allclose(pack(eps, 2)[:, :, 0, 0, 0], packed[:, :, :2, :2, :2].mean((2, 3, 4)), atol=1e-6)
