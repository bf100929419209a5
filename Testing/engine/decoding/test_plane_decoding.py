"""Decoding in planes: MONAI's own image in double precision, for any shape and kind of decoder, in no more memory."""

from __future__ import annotations

import copy

import pytest
import torch
from benchmark.tensor_memory import TensorMemory
from decoders import DECODERS, autoencoder, relative
from torch import nn
from torch.nn import functional
from vcm.models.backbones import autoencoders, plane_decoding, slab_decoding
from vcm.models.backbones.local_autoencoder import LocalAutoencoder
from vcm.models.backbones.plane_convolutions import convolution, doubling_convolution
from vcm.models.backbones.plane_decoding import _moments, _Planes, decode_in_planes, decodes_in_planes

ONE_PLANE, THIN, HALF, WHOLE = 1, 30_000, 150_000, 2**40


def holds(model, z: torch.Tensor, slab_bytes: int = THIN) -> None:
    """It is as near to the image in double precision as MONAI's own decoder in single, but for Winograd's rounding."""
    expected = copy.deepcopy(model).double().decode(z.double())
    found = decode_in_planes(model, z, slab_bytes)
    assert found.shape == expected.shape and found.dtype is torch.float32
    assert relative(found, expected) < 3e-6 + 6 * relative(model.decode(z), expected)


@pytest.mark.parametrize("slab_bytes", [ONE_PLANE, THIN, HALF, WHOLE])
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_slabs_of_any_thickness_give_the_plain_image(name, slab_bytes):
    holds(autoencoder(name), torch.randn(2, 3, 9, 3, 4), slab_bytes)


@pytest.mark.parametrize("space", [(1, 1, 1), (1, 4, 3), (2, 5, 1), (5, 1, 2), (7, 2, 3), (3, 1, 9), (4, 3, 3)])
@torch.no_grad()
def test_any_shape_gives_the_plain_image(space):
    model = autoencoder()
    for planes in (1, 3, 4, 9):
        holds(model, torch.randn(1, 3, *space), planes * 2 * 8 * 8 * space[1] * space[2] * 4)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_num_groups": 1}, {"channels": [4, 8, 16], "norm_num_groups": 2}, {"out_channels": 2},
        {"channels": [16, 24, 32], "norm_num_groups": 8, "latent_channels": 9}, {"norm_eps": 1e-2},
    ],
)  # fmt: skip
@torch.no_grad()
def test_any_channels_and_groups_give_the_plain_image(changes):
    holds(autoencoder(**changes), torch.randn(1, changes.get("latent_channels", 3), 5, 3, 4))


@torch.no_grad()
def test_other_convolutions_run_as_they_are():
    model = autoencoder()
    first, last = model.decoder.blocks[0], model.decoder.blocks[-1]
    first.conv = nn.Conv3d(3, 8, 5, padding=2)
    last.conv = nn.Conv3d(4, 1, 3, padding=1, padding_mode="replicate")
    block = next(b for b in model.decoder.blocks if hasattr(b, "conv1"))
    block.conv1.conv = nn.Conv3d(8, 8, 3, padding=2, dilation=2)
    holds(model, torch.randn(1, 3, 5, 3, 4))


@torch.no_grad()
def test_weights_that_change_are_seen_and_norms_and_convolutions_may_lack_theirs():
    model, z = autoencoder(), torch.randn(1, 3, 5, 3, 4)
    holds(model, z)
    for module in model.decoder.modules():
        if isinstance(module, nn.Conv3d):
            module.weight.mul_(1.3)
            module.bias = None
        if isinstance(module, nn.GroupNorm):
            module.weight = module.bias = None
    holds(model, z)


@torch.no_grad()
def test_an_image_does_not_depend_on_what_is_decoded_beside_it_and_comes_again_bit_by_bit():
    model = autoencoder()
    z = torch.randn(2, 3, 5, 3, 4) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1, 1)
    before = z.clone()
    together = decode_in_planes(model, z, THIN)
    assert torch.equal(z, before)
    for index in range(2):
        assert torch.equal(decode_in_planes(model, z[index : index + 1], THIN), together[index : index + 1])


# Statistics


@pytest.mark.parametrize(
    ("mean", "spread"), [(0.0, 1.0), (3.0, 1.0), (300.0, 1.0), (1000.0, 0.2), (0.0, 0.0), (7.0, 0.0)]
)
def test_the_variance_is_right_however_large_the_mean(mean, spread):
    torch.manual_seed(1)
    slope = torch.arange(9.0).view(1, 1, 9, 1, 1) * spread
    x = torch.randn(1, 6, 9, 5, 7) * spread + mean + slope
    x[:, 3] += spread
    exact = x.double().view(3, -1)
    found_mean, found = _moments(3, _Planes.of(x))
    assert torch.allclose(found_mean, exact.mean(1), rtol=1e-6, atol=1e-6)
    assert torch.allclose(found, exact.var(1, unbiased=False), rtol=2e-5, atol=1e-12)


@torch.no_grad()
def test_a_large_mean_does_not_drown_what_lies_on_it():
    model, z = autoencoder(), torch.randn(1, 3, 9, 5, 4)
    model.decoder.blocks[0].conv.bias += torch.linspace(200, 400, 8)
    for block in model.decoder.blocks:
        if hasattr(block, "conv1"):
            block.conv1.conv.bias += 500
    holds(model, z)


# The convolutions alone


@pytest.mark.parametrize("channels", [(8, 8), (9, 17), (3, 16), (16, 1), (1, 1)])
@pytest.mark.parametrize("planes", [1, 2, 3, 4, 5, 8, 11])
def test_each_convolution_is_pytorchs(channels, planes):
    torch.manual_seed(2)
    weight, x = torch.randn(channels[1], channels[0], 3, 3, 3), torch.randn(channels[0], planes, 5, 6)
    padded = functional.pad(x, (0, 0, 0, 0, 1, 1)).transpose(0, 1).contiguous()
    exact = functional.conv3d(x.double(), weight.double(), padding=1).transpose(0, 1)
    found = torch.full((planes, channels[1], 5, 6), torch.nan)
    convolution(weight, planes)(padded, found)
    assert float((found - exact).abs().max() / exact.std()) < 1e-5
    twice = functional.interpolate(x.double()[None], scale_factor=2)
    exact = functional.conv3d(twice, weight.double(), padding=1)[0].transpose(0, 1)
    found = torch.full((2 * planes, channels[1], 10, 12), torch.nan)
    doubling_convolution(weight)(padded, found)
    assert float((found - exact).abs().max() / exact.std()) < 1e-5


# Where it is used, and what it costs


def used(model, z: torch.Tensor, monkeypatch) -> bool:
    seen = []
    monkeypatch.setattr(autoencoders, "decode_in_planes", lambda *_: seen.append("planes"))
    monkeypatch.setattr(slab_decoding, "decode_in_slabs", lambda *_: seen.append("slabs"))
    autoencoders.decode_in_slabs(model, z, THIN)
    return seen == ["planes"]


def test_it_is_used_on_a_processor_in_single_precision_only(monkeypatch):
    model, z = autoencoder(), torch.randn(1, 3, 2, 3, 4)
    assert used(model, z, monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        assert not used(model, z, monkeypatch)
    assert not used(model, z.bfloat16(), monkeypatch)
    assert not used(model, z.to("meta"), monkeypatch)
    assert not used(autoencoder().bfloat16(), z.bfloat16(), monkeypatch)
    assert not used(autoencoder().double(), z.double(), monkeypatch)
    assert not decodes_in_planes(LocalAutoencoder.__new__(LocalAutoencoder), z)


@pytest.mark.parametrize("name", ["as BrainLDM's", "wider at the bottom"])
@torch.no_grad()
def test_it_takes_no_more_memory_than_slabs_and_than_was_estimated(name):
    model, z = autoencoder(name, channels=[16, 16, 32]), torch.randn(1, 3, 20, 14, 12)
    peaks = []
    for decode in (slab_decoding.decode_in_slabs, plane_decoding.decode_in_planes):
        with TensorMemory() as memory:
            decode(model, z, 2**20)
        peaks.append(memory.peak)
    assert peaks[1] < 1.05 * peaks[0]
    assert peaks[1] < slab_decoding.slab_decoding_bytes(model, z.shape[2:], 4, 2**20)
