"""The autoencoder whose numbers depend on what is near them alone."""

from __future__ import annotations

import pytest
import tiny
import torch
from benchmark.tensor_memory import TensorMemory
from small_cohort import write_cohort
from tiny import randomised
from vcm.core.errors import Code, VcmError
from vcm.models.backbones.autoencoders import (
    build_autoencoder,
    decode_in_slabs,
    largest_decoder_activation,
    latent_shape,
    slab_decoding_bytes,
)
from vcm.models.backbones.latent_diffusion import LatentDiffusion
from vcm.models.backbones.local_autoencoder import LocalAutoencoder, fold, unfold
from vcm.models.loading import load_backbone
from vcm.packs.manifest_reading import parse_manifest
from vcm.packs.store import find_pack
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.image_runs import open_autoencoder_run
from vcm.training.export.export import export_run
from vcm.training.trainer.team import Team

SMALL = {"kind": "local", "latent_channels": 5, "channels": [4, 6], "thin": 3, "noise": 0.2}
ROUNDING = 3e-5


def model(**options):
    torch.manual_seed(0)
    return randomised(build_autoencoder({**SMALL, **options})).eval()


def relative(found, expected):
    return float((found - expected).abs().max() / expected.std())


def test_blocks_become_channels_in_the_order_of_the_axes_and_come_back():
    x = torch.arange(2 * 4 * 6 * 8.0).reshape(1, 2, 4, 6, 8)
    folded = fold(x)
    assert folded.shape == (1, 16, 2, 3, 4)
    assert folded[0, 8 + 0b011, 1, 2, 3] == x[0, 1, 2, 5, 7]  # channel 1, then the parts along i, j, k
    assert torch.equal(unfold(folded), x)


def test_shapes_follow_from_the_manifests_words():
    net = model()
    mean, spread = net.encode(torch.rand(2, 1, 8, 12, 16))
    assert mean.shape == spread.shape == (2, *latent_shape(SMALL, (8, 12, 16))) == (2, 5, 2, 3, 4)
    assert (spread == 0.2).all()
    assert net.decode(mean).shape == (2, 1, 8, 12, 16)
    assert latent_shape({"channels": [4, 8], "latent_channels": 3}, (8, 12, 16)) == (3, 4, 6, 8)


@pytest.mark.parametrize("slab_bytes", [1, 500, 5_000, 2**40])
@pytest.mark.parametrize("space", [(9, 2, 3), (1, 3, 2), (5, 1, 4)])
@torch.no_grad()
def test_slabs_of_any_thickness_give_the_plain_image(space, slab_bytes):
    net = model()
    z = torch.randn(2, 5, *space)
    assert relative(decode_in_slabs(net, z, slab_bytes), net.decode(z)) < ROUNDING


@torch.no_grad()
def test_what_is_far_away_changes_nothing():
    net = model()
    image = torch.rand(1, 1, 96, 8, 8)
    other = image.clone()
    other[:, :, :32] = torch.rand(1, 1, 32, 8, 8)
    near, far = ((a - b).abs().amax((0, 1, 3, 4)) for a, b in [(net.encode(image)[0], net.encode(other)[0])] * 2)
    assert near[:8].min() > 0 and far[16:].max() == 0
    z = torch.randn(1, 5, 24, 2, 2)
    changed = z.clone()
    changed[:, :, :4] += 1
    difference = (net.decode(z) - net.decode(changed)).abs().amax((0, 1, 3, 4))
    assert difference[:16].min() > 0 and difference[4 * (4 + 8) :].max() == 0


@torch.no_grad()
def test_a_crop_sees_what_the_whole_sees():
    net = model()
    image = torch.rand(1, 1, 96, 8, 8)
    whole, crop = net.encode(image)[0], net.encode(image[:, :, 32:])[0]
    assert relative(crop[:, :, 8:], whole[:, :, 16:]) < ROUNDING


@torch.no_grad()
def test_decoding_needs_no_more_memory_than_was_estimated():
    net = model(channels=[8, 12])
    z = torch.randn(1, 5, 40, 12, 10)
    with TensorMemory() as memory:
        decode_in_slabs(net, z, 2**14)
    assert memory.peak < slab_decoding_bytes(net, z.shape[2:], 4, 2**14)
    assert largest_decoder_activation(net, z.shape[2:]) == 8 * 64 * z[0, 0].numel()


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def test_one_is_trained_on_crops_and_becomes_a_pack(packs, tmp_path):
    cases = write_cohort(tmp_path / "cohort")
    settings = AutoencoderSettings(
        backbone="tiny", network={**SMALL, "channels": [8, 8]}, crop=12, steps=80, batch=2, learning_rate=1e-2,
        warmup=2, precision="bf16", noise=0.3, squared=1.0, standard=0.01, kl=0.0, adversary=0.0, log_every=5, ema=0.5,
    )  # fmt: skip
    run = open_autoencoder_run(settings, cases, tmp_path / "run", team=Team("cpu"), unseen=cases[:1])
    assert run.trainer.train() == "finished"
    losses = [float(row[run.trainer.log.columns.index("l1")]) for row in run.trainer.log.rows]
    assert losses[-1] < 0.8 * losses[0]
    export_run(tmp_path / "run", packs / "local")
    manifest = find_pack("local").backbone
    assert manifest.networks["autoencoder"]["kind"] == "local" and manifest.latent.shape == (5, 4, 6, 8)
    backbone = load_backbone(find_pack("local"))
    image = torch.rand(1, 1, *tiny.GRID.shape)
    whole = backbone.decode(backbone.encode(image))
    backbone.slab_bytes = 2000
    assert relative(backbone.decode(backbone.encode(image)), whole) < ROUNDING


def test_its_crops_are_not_air(packs, tmp_path):
    cases = write_cohort(tmp_path / "cohort")
    settings = AutoencoderSettings(backbone="tiny", network=SMALL, crop=8, steps=1, batch=2, adversary=0.0)
    task = open_autoencoder_run(settings, cases, tmp_path / "run", team=Team("cpu")).trainer.task
    from vcm.training.trainer.task import slots_of

    means, sizes = [], set()
    for step in range(40):
        for part in task._crops(slots_of(1, step, 2, 3, (0, 1)), (False, True)):
            means.append(float(part.mean()))
            sizes.add(tuple(part.shape))
    assert sizes == {(1, 8, 8, 8)}
    assert sum(mean > 0.05 for mean in means) > 0.95 * len(means) and len({round(m, 4) for m in means}) > 40


def test_a_kind_that_is_not_known_is_refused(packs):
    import json

    folder = packs / "tiny"
    content = json.loads((folder / "manifest.json").read_text("utf-8"))
    content["networks"]["autoencoder"]["kind"] = "newer"
    with pytest.raises(VcmError) as caught:
        parse_manifest(content, folder)
    assert caught.value.code is Code.PACK_INVALID and "kind" in caught.value.sentence


def test_a_grid_that_cannot_be_quartered_is_refused(packs, tmp_path):
    grid = tiny.GRID.downsampled((16, 24, 30))
    with pytest.raises(VcmError, match="--grid"):
        LatentDiffusion.around(find_pack("tiny").backbone, SMALL, grid)


def test_the_local_autoencoder_of_the_recipe_is_small():
    recipe = AutoencoderSettings.read(tiny_root() / "training/default/autoencoder.toml")
    net = build_autoencoder(recipe.network)
    assert isinstance(net, LocalAutoencoder)
    assert 2 * sum(p.numel() for p in net.parameters()) < 6e6


def tiny_root():
    from pathlib import Path

    return Path(__file__).parents[3]
