"""Packs stored again in 8 bits per channel: real weights (the micro packs), the command, and who steers what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import vcm
from meddiffusion_files import TINY_AUTOENCODER, TINY_DENOISER, weights
from safetensors.numpy import load_file as numbers_of
from torch import nn
from torch.nn import functional
from vcm.core.errors import VcmError
from vcm.core.hashing import hash_file
from vcm.models.backbones.meddiffusion.autoencoder import PatchVolumeAutoencoder
from vcm.models.backbones.meddiffusion.bi_flow_net import BiFlowNet
from vcm.models.loading import load_backbone, load_control
from vcm.models.segmenter import load_segmenter
from vcm.models.shrinking import channel_axes, shrink_pack
from vcm.packs.store import controls_for, find_pack, verify
from vcm.packs.tensors.eight_bits import encode
from vcm.runs.choice import choose_packs

PACKS = Path(__file__).parents[2] / "packs"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A packs' folder with the micro packs of the tests."""
    for name in ("micro", "micro-ventricles"):
        shutil.copytree(PACKS / name, tmp_path / "packs" / name)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def test_no_weight_of_a_real_pack_is_further_off_than_half_a_step(home):
    shrunk = shrink_pack(find_pack("micro"), home / "micro-8")
    checked = 0
    for role in ("autoencoder", "denoiser", "segmenter"):
        before, after = (numbers_of(home / name / f"{role}.safetensors") for name in ("micro", "micro-8"))
        for name, weight in before.items():
            if f"{name}:scale" in after:
                scale = after[f"{name}:scale"].astype(np.float64)
                assert (np.abs(after[name] * scale - weight) <= scale * 0.50001).all()
                assert np.abs(after[name].astype(int)).max() == 127
                checked += 1
            else:
                assert after[name].dtype == weight.dtype and np.array_equal(after[name], weight)
    assert checked == sum(len(file.errors) for file in shrunk.files.values()) > 40
    assert (home / "micro" / "whitening.safetensors").read_bytes() == (
        home / "micro-8" / "whitening.safetensors"
    ).read_bytes()


def test_a_layer_and_a_network_answer_as_near_as_the_scales_allow(home):
    shrink_pack(find_pack("micro"), home / "micro-8")
    exact, rounded = (load_backbone(find_pack(name)) for name in ("micro", "micro-8"))
    latent = torch.randn(1, *exact.latent_shape, generator=torch.Generator().manual_seed(3))
    inputs, t = torch.full((1, len(exact.attributes)), 0.4), torch.tensor([400.0])
    shown = exact.shown(latent, inputs).tensor
    stored = numbers_of(home / "micro-8" / "denoiser.safetensors")
    scale = torch.from_numpy(stored["conv_in.conv.weight:scale"]).float()
    with torch.no_grad():
        whole, near = (model.denoiser.conv_in(shown) for model in (exact, rounded))
        # Each weight is off by half a step at most, so the sum is by no more than that times the sum of what it weighs.
        steps = scale.expand_as(exact.denoiser.conv_in.conv.weight) / 2
        most = functional.conv3d(shown.abs(), steps, padding=1)
        assert (near - whole).any() and ((near - whole).abs() <= most * 1.001 + 1e-5).all()
        whole, near = (model.predict(latent, t, inputs) for model in (exact, rounded))
        assert 0 < (near - whole).std() < 0.05 * whole.std()
        whole, near = (model.decode(latent) for model in (exact, rounded))
        assert 0 < (near - whole).std() < 0.05 * whole.std()


def test_transposed_convolutions_have_their_output_channels_on_the_second_axis(home):
    shrink_pack(find_pack("micro"), home / "micro-8")
    segmenter, stored = load_segmenter(find_pack("micro")), numbers_of(home / "micro-8" / "segmenter.safetensors")
    transposed = 0
    for name, module in segmenter.named_modules():
        if f"{name}.weight:scale" in stored:
            scale = stored[f"{name}.weight:scale"]
            assert scale.size == module.out_channels == scale.shape[int(module.transposed)]
            transposed += module.transposed and module.in_channels != module.out_channels
    assert transposed


def test_embeddings_codebooks_normalisations_and_tables_are_not_rounded():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedded, self.norm, self.linear = nn.Embedding(30, 8), nn.GroupNorm(2, 8), nn.Linear(8, 20)
            self.up = nn.ConvTranspose2d(6, 4, 3)
            self.place = nn.Parameter(torch.ones(8, 5, 5))
            self.register_buffer("weights", torch.ones(40, 8))

    assert channel_axes(Mixed()) == {"linear.weight": 0, "up.weight": 1}
    assert channel_axes(nn.Linear(3, 4)) == {"weight": 0}


def test_a_codebook_and_embeddings_of_a_published_family_stay_exact():
    for network, exact in (
        (PatchVolumeAutoencoder(**TINY_AUTOENCODER), "codebook.embeddings"),
        (BiFlowNet(**TINY_DENOISER), "cond_emb.weight"),
    ):
        state, axes = weights(network), channel_axes(network)
        stored = encode(state, axes)
        assert state[exact].ndim == 2 and torch.equal(stored.tensors[exact], state[exact])
        assert stored.errors and all(state[name].ndim > 1 for name in stored.errors)
        for name, module in network.named_modules():
            if isinstance(module, nn.ConvTranspose3d):
                assert axes[f"{name}.weight"] == 1


def test_controls_steer_the_same_backbone_in_8_bits_and_no_other(home):
    shrink_pack(find_pack("micro"), home / "micro-8")
    shrink_pack(find_pack("micro-ventricles"), home / "small-control")
    assert [c.name for c in controls_for(find_pack("micro-8"))] == ["micro-ventricles", "small-control"]
    assert choose_packs("micro-8", "small-control", ["ventricles"])[1].name == "small-control"
    for name in ("micro", "micro-8"):
        verify(find_pack(name))
    manifest = json.loads((home / "micro-8" / "manifest.json").read_text())
    assert manifest["files"]["denoiser"]["rounded_from"] == hash_file(home / "micro" / "denoiser.safetensors")
    manifest["files"]["denoiser"]["rounded_from"] = "0" * 64
    (home / "micro-8" / "manifest.json").write_text(json.dumps(manifest))
    assert controls_for(find_pack("micro-8")) == []
    with pytest.raises(VcmError, match="not for micro-8"):
        choose_packs("micro-8", "micro-ventricles", [])
    control = load_control(find_pack("small-control")).network.state_dict()
    assert all(tensor.dtype is torch.float32 for tensor in control.values())


def test_the_command_stores_a_pack_again_and_says_what_it_cost(home, tmp_path):
    (home / "micro" / "model.sig").write_text("a signature of the files as they were")
    ended = vcm("packs", "shrink", "micro", "--out", tmp_path / "micro-8")
    assert ended.code == 0, ended.err
    sizes = [
        sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        for folder in (home / "micro", tmp_path / "micro-8")
    ]
    assert sizes[1] < 0.75 * sizes[0]  # the whitening is an eighth of it, and names weigh much in so small a pack
    said = " ".join(ended.out.split())
    assert f"{sizes[0]:,} bytes before, {sizes[1]:,} after" in said and "largest relative error" in said
    names = {path.name for path in (tmp_path / "micro-8").iterdir()}
    assert "model.sig" not in names and {"README.md", "training-denoiser.json"} <= names
    assert "8 bits per channel" in (tmp_path / "micro-8" / "README.md").read_text()
    told = " ".join(vcm("packs", "info", tmp_path / "micro-8").out.split())
    assert "8 bits per channel: autoencoder, denoiser, segmenter" in told
    assert "8 bits" not in vcm("packs", "info", "micro").out
    again = vcm("packs", "shrink", tmp_path / "micro-8", "--out", tmp_path / "twice")
    assert again.code == 2 and "is stored in 8 bits already" in again.err and not (tmp_path / "twice").exists()


def test_a_folder_of_something_else_and_the_pack_itself_are_refused(home, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    for out, says in ((tmp_path / "letters", "no pack"), (home / "micro", "the pack itself")):
        before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
        with pytest.raises(VcmError, match=says):
            shrink_pack(find_pack("micro"), out)
        assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
