"""Previews: what a linear map makes of latents is like the image, costs little, and gives way where it is not so."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from vcm.conditions.attributes import resolve
from vcm.core.grid import Grid
from vcm.machine.runtime import choose_runtime
from vcm.models.loading import load_backbone
from vcm.packs.store import find_pack
from vcm.sampling.generator import Generator
from vcm.sampling.loop import sample_latents
from vcm.sampling.previews import Previews
from vcm.sampling.request import GenerateRequest

LATENT, BLOCKS = (2, 5, 6, 7), (2, 3, 4)


class LinearModel:
    """A decoder in which each block follows from a voxel of the latent and from the one behind it along each axis."""

    def __init__(self, shape=(10, 18, 28)):
        self.grid = Grid(shape, np.eye(4))
        generator = torch.Generator().manual_seed(1)
        self.own, *self.behind = (torch.randn(2, 1, *BLOCKS, generator=generator) for _ in range(4))
        self.decoded = 0

    def decoder_input(self, latent, scale_factor=None):
        return latent.float() / (scale_factor or 1.0)

    def exact(self, latent, scale_factor=None):
        z = self.decoder_input(latent[None], scale_factor)
        image = torch.nn.functional.conv_transpose3d(z, self.own, stride=BLOCKS)
        for axis, weights in enumerate(self.behind, start=2):
            size = z.shape[axis]
            moved = torch.cat([z.narrow(axis, 0, 1), z.narrow(axis, 0, size - 1)], axis)  # at the border, itself
            image = image + torch.nn.functional.conv_transpose3d(moved, weights, stride=BLOCKS)
        return image[0, 0] + 0.25

    def decode(self, latent):
        self.decoded += 1
        return self.exact(latent)


def latents(count, seed=0):
    return torch.randn(count, *LATENT, generator=torch.Generator().manual_seed(seed))


def test_a_linear_decoder_is_asked_once_and_every_block_lies_where_it_belongs():
    model = LinearModel()
    previews = Previews(model)
    for latent in latents(4):
        assert torch.allclose(previews.image(latent, None, model.decode), model.exact(latent), atol=2e-3)
    assert model.decoded == 1


def test_another_scale_factor_has_a_map_of_its_own():
    model = LinearModel()
    previews = Previews(model)
    for scale in (None, 2.0, None, 2.0):
        (latent,) = latents(1, seed=int(scale or 0))
        found = previews.image(latent, scale, lambda z, scale=scale: counted(model, z, scale))
        assert torch.allclose(found, model.exact(latent, scale), atol=2e-3)
    assert model.decoded == 2


def counted(model, latent, scale):
    model.decoded += 1
    return model.exact(latent, scale)


@pytest.mark.parametrize("fault", ["nothing linear in it", "sizes that do not divide"])
def test_a_decoder_that_is_not_like_that_is_asked_every_time(fault):
    model = LinearModel((10, 18, 28) if fault.startswith("nothing") else (10, 18, 27))
    previews = Previews(model)
    whole = lambda z: torch.sin(40 * model.exact(z))  # noqa: E731
    cut = lambda z: model.exact(z)[:, :, :27]  # noqa: E731
    decode, asked = (whole if fault.startswith("nothing") else cut), []
    for latent in latents(3):
        found = previews.image(latent, None, lambda z: asked.append(1) or decode(z))
        assert torch.equal(found, decode(latent))
    assert len(asked) == 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_previews_of_a_trained_model_are_like_its_images_also_for_other_heads(monkeypatch, precision):
    monkeypatch.setenv("VCM_PACKS", str(Path(__file__).parents[2] / "packs"))
    backbone = load_backbone(find_pack("micro"))
    generator = Generator(backbone, None, choose_runtime("cpu", precision))
    seen, decoded = [], []
    decode = backbone.decode
    monkeypatch.setattr(backbone, "decode", lambda z, scale=None: decoded.append(z) or decode(z, scale))
    for seed in (1, 2):
        wanted = GenerateRequest(resolve(backbone.attributes), seed=seed, steps=6, preview_every=1)
        (sample,) = generator.generate(wanted, on_preview=lambda index, step, image: seen.append((step, image.array)))
        # The last preview is of a latent next to the finished one.
        last, final = seen[-1][1], sample.volume.array
        assert np.corrcoef(last.ravel(), final.ravel())[0, 1] > 0.9
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5] * 2
    assert len(decoded) == 1 + 2, "the first preview, and both samples"
    assert all(image.dtype == np.float32 and image.shape == backbone.grid.shape for _, image in seen)


def test_a_preview_costs_a_small_part_of_a_decode(monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(Path(__file__).parents[2] / "packs"))
    backbone = load_backbone(find_pack("micro"))
    previews = Previews(backbone)
    noise = torch.randn(3, *backbone.latent_shape, generator=torch.Generator().manual_seed(3))
    latents = sample_latents(backbone, torch.full((1, len(backbone.attributes)), 0.5), noise, steps=4)

    def decode(latent):
        with torch.no_grad():
            return backbone.decode(latent[None])[0, 0]

    def cost(make):
        started = time.process_time()
        make()
        return time.process_time() - started

    previews.image(latents[0], None, decode)
    each = [(cost(lambda z=z: decode(z)), cost(lambda z=z: previews.image(z, None, decode))) for z in latents[1:]]
    assert min(preview / exact for exact, preview in each) < 0.2
