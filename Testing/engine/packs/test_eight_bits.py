"""Weights in 8 bits per channel: what rounding does to numbers, and what of a damaged file is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file as numbers_of
from sample_packs import make_backbone
from vcm.core.errors import Code, VcmError
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import find_pack, open_weights
from vcm.packs.tensors.checkpoints import read_checkpoint, write_weights
from vcm.packs.tensors.eight_bits import LARGEST_ERROR, decode, encode


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loudness(shape, axis):
    """Factors from 1 to a millionth along one axis."""
    return torch.logspace(0, -6, shape[axis]).view([-1 if a == axis else 1 for a in range(len(shape))])


def lost(weight, stored, axis):
    """The relative RMS error of each channel along an axis, as numpy has it."""
    whole, after = (np.moveaxis(t.double().numpy(), axis, 0).reshape(t.shape[axis], -1) for t in (weight, stored))
    return np.sqrt(np.square(after - whole).mean(1) / np.square(whole).mean(1))


@pytest.mark.parametrize(("shape", "axis"), [((7, 5, 3, 2, 4), 0), ((5, 7, 3, 2, 4), 1), ((9, 30), 0)])
def test_a_channel_a_million_times_fainter_than_another_keeps_its_weights(shape, axis):
    weight = noise(*shape) * loudness(shape, axis)
    stored = encode({"w": weight}, {"w": axis})
    assert stored.tensors["w"].dtype is torch.int8 and set(stored.tensors) == {"w", "w:scale"}
    assert lost(weight, decode(stored.tensors)["w"], axis).max() < 0.02
    # One scale for the whole tensor would lose the faint channels altogether.
    whole = weight.abs().max() / 127
    assert lost(weight, (weight / whole).round() * whole, axis).max() == 1


def test_no_number_is_further_off_than_half_a_step_of_its_channel(tmp_path):
    weight = noise(6, 4, 3, 3, 3, seed=5) * loudness((6, 4, 3, 3, 3), 0)
    write_weights(tmp_path / "w.safetensors", encode({"w": weight}, {"w": 0}).tensors)
    inside = numbers_of(tmp_path / "w.safetensors")
    expected = inside["w"].astype(np.float64) * inside["w:scale"]
    largest = weight.abs().flatten(1).max(1).values.double().numpy()
    assert np.allclose(inside["w:scale"].ravel(), largest / 127, rtol=1e-6)
    assert (np.abs(expected - weight.double().numpy()) <= inside["w:scale"] * 0.50001).all()
    assert np.allclose(read_checkpoint(tmp_path / "w.safetensors")["w"].numpy(), expected, rtol=1e-6)


def test_numbers_on_the_grid_come_back_exactly():
    integers = torch.arange(-127, 128).view(3, 85)
    integers[1, 0] = 127  # every channel must reach its largest
    scale = torch.tensor([[0.25], [3.0], [2.0**-20]])
    weight = integers * scale
    stored = encode({"w": weight}, {"w": 0})
    assert torch.equal(stored.tensors["w"], integers.to(torch.int8))
    assert torch.equal(decode(stored.tensors)["w"], weight)
    assert stored.errors["w"] == 0


def test_channels_of_zeros_and_zeros_among_others_stay_zeros():
    weight = noise(4, 6, 3)
    weight[2] = 0
    weight[0, 1] = 0
    weight[3] = weight[3].abs()  # all of one sign, where a zero point off 0 would gain
    found = decode(encode({"w": weight}, {"w": 0}).tensors)["w"]
    assert torch.isfinite(found).all() and torch.equal(found == 0, weight == 0)
    nothing = torch.zeros(4, 6, 3)
    assert torch.equal(decode(encode({"w": nothing}, {"w": 0}).tensors)["w"], nothing)


@pytest.mark.parametrize("size", [1e-30, 1e-44, 1e37])
def test_numbers_at_the_ends_of_fp32_are_rounded_or_kept(size):
    weight = noise(4, 60) * size
    found = decode(encode({"w": weight}, {"w": 0}).tensors)["w"]
    assert lost(weight, found, 0).max() < 0.02 if size != 1e-44 else torch.equal(found, weight)


def test_what_is_not_named_or_would_lose_too_much_or_gains_nothing_stays_as_it_was():
    spiky = noise(3, 4000) * 1e-3
    spiky[:, 0] = 1.0
    spiky = spiky.half()
    state = {
        "bias": noise(9), "codebook": noise(40, 8), "spiky": spiky, "thin": noise(50, 2).half(),
        "steps": torch.arange(70).view(7, 10), "fine": noise(5, 40).half(),
    }  # fmt: skip
    stored = encode(state, dict.fromkeys(["spiky", "thin", "steps", "fine"], 0))
    assert stored.kept == ["spiky"] and set(stored.errors) == {"fine"}
    step = 1 / 127
    loss = ((spiky.float() / step).round() * step - spiky.float()).norm() / spiky.float().norm()
    assert loss > LARGEST_ERROR
    for name in set(state) - {"fine"}:
        assert stored.tensors[name].dtype is state[name].dtype and torch.equal(stored.tensors[name], state[name])


def good():
    return {"b": torch.ones(3), "w": noise(3, 5, 2), "x": noise(4, 8, 3)}


DAMAGES = {
    "the scale is missing": (lambda s: s.pop("x:scale"), "“x” is stored in 8 bits, and its scale is missing"),
    "the tensor is missing": (lambda s: s.pop("x"), "“x:scale” is the scale of a tensor that is not there"),
    "the tensor is in fp32": (lambda s: s.update(x=noise(4, 8, 3)), "“x:scale” is the scale of a tensor that is not"),
    "one channel too few": (lambda s: s.update({"x:scale": torch.ones(3, 1, 1)}), "does not fit: 3 × 1 × 1 numbers"),
    "one for all": (lambda s: s.update({"x:scale": torch.ones(1, 1, 1)}), "does not fit"),
    "along a third axis": (lambda s: s.update({"x:scale": torch.ones(1, 1, 3)}), "does not fit"),
    "one for each number": (lambda s: s.update({"x:scale": torch.ones(4, 8, 3)}), "does not fit"),
    "without axes": (lambda s: s.update({"x:scale": torch.tensor(1.0)}), "does not fit: single numbers"),
    "of integers": (lambda s: s.update({"x:scale": torch.ones(4, 1, 1, dtype=torch.int32)}), "does not fit"),
    "NaN": (lambda s: s["x:scale"].view(-1)[2:3].fill_(torch.nan), "not positive and finite"),
    "infinite": (lambda s: s["x:scale"].view(-1)[2:3].fill_(torch.inf), "not positive and finite"),
    "negative": (lambda s: s["x:scale"].view(-1)[2:3].neg_(), "not positive and finite"),
    "zero": (lambda s: s["x:scale"].view(-1)[2:3].zero_(), "not positive and finite"),
    "beyond fp32": (lambda s: s["x:scale"].view(-1)[2:3].fill_(3e38), "“x” holds values that are not numbers"),
    "a vector in 8 bits": (
        lambda s: s.update({"b": torch.ones(3, dtype=torch.int8), "b:scale": torch.ones(3)}), "“b” does not fit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_scale_is_refused_in_a_pack_and_in_a_checkpoint(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    folder = make_backbone(tmp_path / "packs")
    path = folder / "denoiser.safetensors"
    change, says = DAMAGES[damage]
    content = encode(good(), {"w": 0, "x": 0}).tensors
    change(content)
    write_weights(path, content)
    write_manifest(folder, json.loads((folder / "manifest.json").read_text()))
    with pytest.raises(VcmError) as caught:
        open_weights(find_pack("tiny"), "denoiser")
    assert caught.value.code is Code.PACK_INVALID
    assert says in caught.value.sentence and str(path) in caught.value.sentence and "tiny" in caught.value.sentence
    with pytest.raises(VcmError) as caught:
        read_checkpoint(path)
    assert caught.value.code is Code.PACK_INVALID and str(path) in caught.value.sentence
    assert "“x" in caught.value.sentence or "“b" in caught.value.sentence


def test_an_undamaged_one_is_read_in_both_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    folder = make_backbone(tmp_path / "packs")
    write_weights(folder / "denoiser.safetensors", encode(good(), {"w": 0, "x": 1}).tensors)
    write_manifest(folder, json.loads((folder / "manifest.json").read_text()))
    for found in (open_weights(find_pack("tiny"), "denoiser"), read_checkpoint(folder / "denoiser.safetensors")):
        assert set(found) == {"b", "w", "x"} and all(tensor.dtype is torch.float32 for tensor in found.values())
        for name, tensor in good().items():
            assert torch.allclose(found[name], tensor, atol=0.02)
