"""3D MedDiffusion's networks: against the published networks' numbers, and against hand calculations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from meddiffusion_files import (
    ABSENT,
    THERE,
    TINY_AUTOENCODER,
    TINY_DENOISER,
    expected,
    noise,
    relative,
    shapes_of,
    weights,
)
from vcm.models.backbones.backbone import Residuals
from vcm.models.backbones.meddiffusion.autoencoder import Codebook, PatchVolumeAutoencoder
from vcm.models.backbones.meddiffusion.bi_flow_net import BiFlowNet
from vcm.models.backbones.meddiffusion.layers import cut
from vcm.models.backbones.meddiffusion.local_codes import LocalCodes
from vcm.models.backbones.meddiffusion.patch_flow import Final, SelfAttention

beside_the_repository = pytest.mark.skipif(not THERE, reason=ABSENT)
FLOWS = {
    "flow8-small": ({"dim": 24}, (2, 8, 8, 16, 16), (3, 5), (999, 250)),
    "flow4-small": ({"dim": 24, "patch_size": 2}, (2, 8, 16, 8, 16), (4, 0), (500, 3)),
    "flow8-full": ({}, (1, 8, 16, 16, 24), (3,), (640,)),
}


def size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def tiny_flow() -> BiFlowNet:
    network = BiFlowNet(**TINY_DENOISER)
    network.load_state_dict(weights(network))
    return network.eval()


def test_the_published_sizes_have_the_published_numbers_of_weights():
    with torch.device("meta"):
        assert [size(BiFlowNet(patch_size=patch)) for patch in (1, 2)] == [157_654_880, 157_773_824]
        for downsample, encoder, decoder in ((8, 15_836_696, 18_982_081), (4, 3_928_184, 4_557_313)):
            network = PatchVolumeAutoencoder(downsample=downsample)
            assert (size(network.encoder), size(network.decoder)) == (encoder, decoder)


@beside_the_repository
def test_the_keys_and_shapes_are_those_of_the_published_checkpoints():
    with torch.device("meta"):
        networks = {name: BiFlowNet(**options) for name, (options, *_) in FLOWS.items()}
        networks |= {f"ae{n}": PatchVolumeAutoencoder(downsample=n) for n in (8, 4)}
    for name, network in networks.items():
        assert {key: list(t.shape) for key, t in network.state_dict().items()} == shapes_of(name), name


@beside_the_repository
@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_a_call_of_the_denoiser_gives_the_published_numbers(name):
    options, shape, classes, times = FLOWS[name]
    network = BiFlowNet(**options)
    network.load_state_dict(weights(network))
    given = noise(shape, 9), torch.tensor(times), torch.tensor(classes)
    found = network.eval()(*given)
    assert relative(found, expected()[f"{name}.prediction"]) < 1e-4
    resolution = torch.tensor([size / 64 for size in shape[2:]])
    assert torch.equal(network(*given, resolution), found)


@beside_the_repository
@pytest.mark.parametrize(("name", "downsample", "shape"), [("ae8", 8, (64, 128, 64)), ("ae4", 4, (64, 64, 64))])
@torch.no_grad()
def test_the_autoencoder_gives_the_published_latents_codes_and_image(name, downsample, shape):
    network, wanted = PatchVolumeAutoencoder(downsample=downsample), expected()
    network.load_state_dict(weights(network))
    latent = network.eval().encode(noise((1, 1, *shape), 5).clamp(-1, 1))
    low, high = network.codebook.span()
    assert relative((latent - low) / (high - low) * 2 - 1, wanted[f"{name}.latent"]) < 1e-4
    codes = network.codebook.nearest(latent)
    assert torch.equal(codes, wanted[f"{name}.code"].long())
    image, kept = network.decode(network.codebook.look_up(codes)), wanted[f"{name}.image"]
    rounding = torch.finfo(torch.float16).eps * kept.float().abs().clamp(min=2.0**-14)
    assert float(((image - kept.float()).abs() - rounding).max()) < 1e-4 * float(kept.float().std())


def test_a_patch_is_encoded_as_if_there_were_no_other():
    network = PatchVolumeAutoencoder(**TINY_AUTOENCODER)
    network.load_state_dict(weights(network))
    image = noise((1, 1, 16, 32, 48), 5)
    whole = network.encode(image)
    assert whole.shape == (1, 3, 4, 8, 12)
    alone = network.encode(image[:, :, :, 16:, 32:])
    assert torch.allclose(whole[:, :, :, 4:, 8:], alone, atol=1e-5)
    padded = torch.nn.functional.pad(image[:, :, :8, :, :20], (0, 12, 0, 0, 0, 8), value=-1.0)
    assert torch.allclose(network.encode(image[:, :, :8, :, :20]), network.encode(padded)[:, :, :2, :, :5], atol=1e-5)


def test_the_nearest_code_is_the_one_that_a_search_of_all_finds():
    network = PatchVolumeAutoencoder(**TINY_AUTOENCODER)
    latent = noise((2, 3, 3, 4, 5), 6)
    codes = network.codebook.embeddings.numpy()
    found = network.codebook.nearest(latent)
    for place in np.ndindex(2, 3, 4, 5):
        voxel = latent[place[0], :, place[1], place[2], place[3]].numpy()
        distances = [float(np.sum((voxel - code) ** 2)) for code in codes]
        assert int(found[place]) == int(np.argmin(distances))
    assert torch.equal(network.codebook.quantise(latent)[1, :, 2, 3, 4], torch.from_numpy(codes)[found[1, 2, 3, 4]])


def test_a_voxel_of_several_codes_takes_the_nearest_for_each_part_of_its_channels():
    codebook = Codebook(7, 2)
    latent = noise((2, 6, 3, 4, 5), 6)
    numbers = codebook.nearest(latent)
    assert numbers.shape == (2, 3, 4, 5, 3)
    parts = latent[1, :, 2, 1, 4].reshape(3, 2)
    wanted = torch.cdist(parts, codebook.embeddings).argmin(1)
    assert torch.equal(numbers[1, 2, 1, 4], wanted) and len(set(numbers.unique().tolist())) > 3
    assert torch.equal(codebook.quantise(latent)[1, :, 2, 1, 4], codebook.embeddings[wanted].flatten())


@torch.no_grad()
def test_local_codes_look_at_what_is_near_alone_and_keep_brightness():
    torch.manual_seed(2)
    network = LocalCodes(embedding_dim=4, n_codes=16, code_dim=2, channels=(8, 12))
    image = noise((1, 1, 32, 48, 64), 5).clamp(-1, 1)
    latent = network.encode(image)
    assert latent.shape == (1, 4, 8, 12, 16) and network.decode(network.codebook.quantise(latent)).shape == image.shape
    changed = image.clone()
    changed[0, 0, 3, 20, 61] += 0.5
    moved = (network.encode(changed) - latent).abs().amax(1)[0] > 1e-7
    assert bool(moved[0, 5, 15]) and not bool(moved[:, :, :8].any()) and not bool(moved[6:].any())
    assert not torch.allclose(network.encode(image * 0.5), latent, atol=1e-3)


@torch.no_grad()
def test_folded_latents_have_the_same_codes_and_give_the_same_image():
    torch.manual_seed(2)
    plain = LocalCodes(embedding_dim=4, n_codes=16, code_dim=2, channels=(8, 12))
    folded = LocalCodes(embedding_dim=32, n_codes=16, code_dim=2, channels=(8, 12), downsample=8, folded=True)
    folded.load_state_dict(plain.state_dict())
    image = noise((2, 1, 32, 48, 64), 5).clamp(-1, 1)
    latent, gathered = plain.encode(image), folded.encode(image)
    assert gathered.shape == (2, 32, 4, 6, 8)
    assert torch.equal(gathered[1, 4 * 5 : 4 * 6, 2, 3, 1], latent[1, :, 5, 6, 3])  # the sixth of eight: along x and z
    difference = folded.decode(folded.codebook.quantise(gathered)) - plain.decode(plain.codebook.quantise(latent))
    assert float(difference.abs().max()) < 1e-5  # a convolution's rounding follows how its input lies in memory


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"code_dim": 3}, "embedding_dim 8 is no multiple of 3"),
        ({"downsample": 8}, "downsample of a local autoencoder is 4, not 8"),
        ({"folded": True}, "downsample of a local autoencoder is 8, not 4"),
        ({"folded": True, "downsample": 8}, "embedding_dim 8 is no multiple of 16"),
    ],
)
def test_local_codes_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        LocalCodes(**options)


@torch.no_grad()
@pytest.mark.parametrize("tokens", [27, 64, 65])
def test_attention_with_all_weights_held_is_that_without(tokens):
    attention = SelfAttention(12, 3)
    x = noise((2, tokens, 12), 3)
    q, k, v = attention.qkv(x).reshape(2, tokens, 3, 3, 4).permute(2, 0, 3, 1, 4)
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    wanted = attention.proj(mixed.transpose(1, 2).reshape(2, tokens, 12))
    assert torch.allclose(attention(x), wanted, atol=1e-6)


def test_cubes_and_tokens_run_along_the_last_axis_first():
    volume = torch.arange(2 * 4 * 6 * 8.0).reshape(1, 2, 4, 6, 8)
    cubes = cut(volume, 2)
    assert torch.equal(cubes[0], volume[0, :, :2, :2, :2]) and torch.equal(cubes[1], volume[0, :, :2, :2, 2:4])
    assert torch.equal(cubes[4], volume[0, :, :2, 2:4, :2]) and torch.equal(cubes[12], volume[0, :, 2:, :2, :2])


def test_a_token_becomes_voxels_with_the_channels_running_fastest():
    final = Final(3, 2, 5)
    with torch.no_grad():
        final.linear.bias.copy_(torch.arange(24.0))
        voxels = final(torch.zeros(1, 8, 3), torch.zeros(1, 5))
    for p, q, r, c in np.ndindex(2, 2, 2, 3):
        assert float(voxels[0, c, p, q, r]) == float(voxels[0, c, 2 + p, q, 2 + r]) == ((p * 2 + q) * 2 + r) * 3 + c


@torch.no_grad()
def test_every_sample_of_a_batch_has_its_own_time_and_class():
    network = tiny_flow()
    latent, times, classes = noise((3, 3, 4, 8, 12), 9), torch.tensor([7.0, 500.0, 999.0]), torch.tensor([2, 0, 3])
    together = network(latent, times, classes)
    for n in range(3):
        alone = network(latent[n : n + 1], times[n : n + 1], classes[n : n + 1])
        assert torch.allclose(together[n : n + 1], alone, atol=1e-5)
    assert not torch.allclose(together, network(latent, times, classes.flip(0)), atol=1e-3)
    assert not torch.allclose(together, network(latent, times, classes, torch.tensor([0.5, 0.5, 0.5])), atol=1e-4)


@torch.no_grad()
def test_residuals_are_added_to_skips_and_middle():
    network = tiny_flow()
    given = noise((1, 3, 4, 8, 12), 9), torch.tensor([500.0]), torch.tensor([1])
    plain = network(*given)
    conditioning = network.conditioning(given[0], given[1], given[2], None)
    entering, _ = network.inner_flow(given[0], conditioning)
    middle, skips = network.descend(network.init_conv(given[0]), entering, conditioning)
    nothing = Residuals(tuple(map(torch.zeros_like, skips)), torch.zeros_like(middle))
    assert torch.equal(network(*given, residuals=nothing), plain)
    for place in range(len(skips)):
        down = tuple(torch.full_like(skip, float(n == place)) for n, skip in enumerate(skips))
        assert not torch.allclose(network(*given, residuals=Residuals(down)), plain, atol=1e-4)
    assert not torch.allclose(network(*given, residuals=Residuals(middle=torch.ones_like(middle))), plain, atol=1e-4)
