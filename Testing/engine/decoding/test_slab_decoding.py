"""Decoding in slabs: the plain decoder's image for any thickness, shape and kind of decoder, in less memory."""

from __future__ import annotations

import pytest
import torch
from benchmark.tensor_memory import TensorMemory
from decoders import DECODERS, autoencoder, built, relative
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from vcm.models.backbones.slab_decoding import _normalise, decode_in_slabs, slab_decoding_bytes

ROUNDING = 3e-5
ONE_PLANE, THIN, HALF, WHOLE = 1, 5_000, 40_000, 2**40


@pytest.mark.parametrize("slab_bytes", [ONE_PLANE, THIN, HALF, WHOLE])
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_slabs_of_any_thickness_give_the_plain_image(name, slab_bytes):
    model = autoencoder(name)
    z = torch.randn(2, 3, 5, 3, 4)
    assert relative(decode_in_slabs(model, z, slab_bytes), model.decode(z)) < ROUNDING


@pytest.mark.parametrize("slab_bytes", [ONE_PLANE, THIN, HALF, WHOLE])
@pytest.mark.parametrize("name", DECODERS)
@torch.no_grad()
def test_the_way_for_tensor_cores_gives_the_plain_image(name, slab_bytes):
    model, z = autoencoder(name), torch.randn(2, 3, 5, 3, 4)
    found = decode_in_slabs(model, z, slab_bytes, tensor_cores=True)
    assert relative(found, model.decode(z)) < ROUNDING
    half = decode_in_slabs(autoencoder(name).bfloat16(), z.bfloat16(), slab_bytes, tensor_cores=True)
    plain = relative(autoencoder(name).bfloat16().decode(z.bfloat16()), model.decode(z))
    assert half.dtype is torch.bfloat16 and relative(half, model.decode(z)) < 1.5 * plain < 1.5


@torch.no_grad()
def test_the_way_for_tensor_cores_has_every_convolution_see_channels_last_and_copies_no_number_to_the_device():
    model, z = autoencoder(), torch.randn(1, 3, 5, 3, 4)
    seen: list[tuple] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append((function.overloadpacket.__name__, args))
            return function(*args, **(kwargs or {}))

    with Watch():
        decode_in_slabs(model, z, THIN, tensor_cores=True)
    last = [args[0].is_contiguous(memory_format=torch.channels_last_3d) for name, args in seen if name == "convolution"]
    assert len(last) > 40 and all(last[1:])
    assert not {"lift_fresh", "lift_fresh_copy", "_local_scalar_dense", "_to_copy"} & {name for name, _ in seen}


@pytest.mark.parametrize("space", [(1, 1, 1), (1, 4, 3), (2, 5, 1), (7, 2, 3), (3, 1, 9)])
@torch.no_grad()
def test_any_shape_gives_the_plain_image(space):
    model = autoencoder()
    z = torch.randn(1, 3, *space)
    for planes in range(1, 9):
        slab_bytes = planes * 8 * 16 * space[1] * space[2] * 4
        for tensor_cores in (False, True):
            found = decode_in_slabs(model, z, slab_bytes, tensor_cores=tensor_cores)
            assert relative(found, model.decode(z)) < ROUNDING


@torch.no_grad()
def test_an_image_does_not_depend_on_what_is_decoded_beside_it():
    model = autoencoder()
    z = torch.randn(2, 3, 5, 3, 4) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1, 1)
    together = decode_in_slabs(model, z, THIN)
    for index in range(2):
        assert relative(decode_in_slabs(model, z[index : index + 1], THIN), together[index : index + 1]) < ROUNDING


@torch.no_grad()
def test_the_latent_is_left_as_it_was_and_decoding_again_gives_the_same_bits():
    model, z = autoencoder(), torch.randn(1, 3, 5, 3, 4)
    before = z.clone()
    first = decode_in_slabs(model, z, THIN)
    assert torch.equal(z, before) and torch.equal(decode_in_slabs(model, z, THIN), first)


@torch.no_grad()
def test_in_bf16_slabs_are_as_near_to_the_exact_image_as_the_plain_decoder():
    exact, model = autoencoder(), autoencoder().to(torch.bfloat16)
    z = torch.randn(1, 3, 6, 5, 4)
    expected = exact.decode(z)
    plain = relative(model.decode(z.bfloat16()), expected)
    slabs = decode_in_slabs(model, z.bfloat16(), THIN)
    assert slabs.dtype is torch.bfloat16
    assert relative(slabs, expected) < 1.3 * plain < 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_large_mean_does_not_drown_what_lies_on_it(dtype):
    torch.manual_seed(1)
    norm = nn.GroupNorm(2, 4)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    slope = torch.arange(9.0).view(1, 1, 9, 1, 1) * 4
    x = (torch.randn(1, 4, 9, 5, 7) + 300 + slope).to(dtype)
    with torch.no_grad():
        expected = norm.double()(x.double())
        norm.float()
        found = _normalise(norm, x, 3 * 4 * 35 * 4)(x)
    assert relative(found, expected) < (1e-5 if dtype is torch.float32 else 2e-2)


def peak(model, z: torch.Tensor, slab_bytes: int | None, tensor_cores: bool = False) -> int:
    with torch.no_grad(), TensorMemory() as memory:
        model.decode(z) if slab_bytes is None else decode_in_slabs(model, z, slab_bytes, tensor_cores)
    return memory.peak


@pytest.mark.parametrize("name", ["as BrainLDM's", "wider at the bottom"])
def test_the_thinner_the_slabs_the_less_memory_down_to_what_stays_whole(name):
    model, z = autoencoder(name), torch.randn(1, 3, 9, 6, 7)
    plain, half, thin = (peak(model, z, slab_bytes) for slab_bytes in (None, 100_000, ONE_PLANE))
    assert thin < half < plain
    assert thin < 0.62 * plain


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", [name for name in DECODERS if name not in ("one level", "transposed convolutions")])
def test_the_estimate_of_the_memory_is_an_upper_bound_and_no_loose_one(name, size):
    dtype = {2: torch.float16, 4: torch.float32}[size]
    with torch.device("meta"):
        model = built(name).to(dtype)
        z = torch.empty(1, 3, 40, 28, 24, dtype=dtype)
    estimate = slab_decoding_bytes(model, z.shape[2:], size, 2**20)
    for tensor_cores in (False, True):
        measured = peak(model, z, 2**20, tensor_cores)
        assert measured < estimate < 2 * measured
