"""The full-size VCM on latents whose sides its U-Net cannot halve twice, as those of the packs beside the program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import vcm
from small_cohort import write_cohort
from vcm.cohort.learning_cases import condition_specs
from vcm.conditions.condition import Condition
from vcm.core.volume import Volume
from vcm.models.loading import BACKBONES, load_backbone
from vcm.packs.store import find_pack
from vcm.sampling.guidance import GuidedDenoiser
from vcm.training.control.run import new_control
from vcm.training.control.settings import ControlSettings

PACKS = Path(__file__).parents[2] / "packs"
SPECS = condition_specs(("ventricles",))

full_size = pytest.mark.parametrize("variant", ["paper", "released"])


@pytest.fixture
def micro(monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(PACKS))
    return find_pack("micro")


def begun(variant, manifest):
    """As a training begins with it, nothing of its network changed."""
    return new_control(ControlSettings(backbone=manifest.name, variant=variant), manifest, SPECS).eval()


def mask(grid) -> Condition:
    array = np.zeros(grid.shape, np.float32)
    array[10:18, 20:40, 12:30] = 1
    return Condition(SPECS[0], Volume(array, grid))


@full_size
@torch.no_grad()
def test_it_modulates_what_the_default_backbone_predicts(variant):
    manifest = find_pack(ControlSettings().backbone).backbone
    assert any(size % 4 for size in manifest.latent.shape[1:])
    with torch.device("meta"):
        control, model = begun(variant, manifest), BACKBONES[manifest.family].outline(manifest)
        inputs, latent = torch.zeros(1, len(model.attributes)), torch.zeros(1, *model.latent_shape)
        times, voxels = torch.full((1,), 500.0), torch.zeros(1, 1, *model.grid.shape)
        encoded = control.network.encode({"ventricles": voxels}, t=times)
        gamma, beta = control.network.modulation(latent, model.predict(latent, times, inputs), times, encoded)
    assert gamma.shape == beta.shape == latent.shape


@torch.no_grad()
def test_before_its_first_step_the_papers_changes_nothing_and_then_every_place(micro):
    model, control = load_backbone(micro), begun("paper", micro.backbone)
    inputs = torch.tensor([[spec.default for spec in model.attributes]])
    latent = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    alone = GuidedDenoiser(model, inputs)(latent, 700.0).value
    made = GuidedDenoiser(model, inputs, control, [mask(model.grid)])
    assert torch.allclose(made(latent, 700.0).value, alone, atol=1e-5)
    control.network.heads.beta.conv.weight.normal_(generator=torch.Generator().manual_seed(4))
    changed = made(latent, 700.0).value
    assert torch.isfinite(changed).all() and bool((changed != alone).all())


@torch.no_grad()
def test_the_released_norm_is_over_the_latent_and_not_over_what_was_padded(micro):
    """Zero mean and unit variance, which is what an InstanceNorm without parameters means."""
    control, shape = begun("released", micro.backbone), micro.backbone.latent.shape
    assert any(size % 4 for size in shape[1:])
    latent, eps = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(3))
    voxels = torch.from_numpy(mask(micro.backbone.grid).volume.array)[None, None]
    for made in control.network.modulation(
        latent, eps, torch.tensor([300.0]), control.network.encode({"ventricles": voxels})
    ):
        assert made.shape == latent.shape
        assert torch.allclose(made.mean((2, 3, 4)), torch.zeros(1, shape[0]), atol=1e-5)
        assert torch.allclose(made.var((2, 3, 4), unbiased=False), torch.ones(1, shape[0]), atol=1e-2)


@full_size
def test_a_training_of_it_is_planned(micro, tmp_path, variant):
    write_cohort(tmp_path / "cohort", 2, micro.backbone.grid)
    settings = tmp_path / "v.toml"
    settings.write_text(f'backbone = "micro"\nvariant = "{variant}"\n')
    ended = vcm("train", "control", "--config", settings, "--conditions", "ventricles", "--cases", tmp_path / "cohort",
                "--steps", 50, "--plan", "--device", "cpu", "--out", tmp_path / "run")  # fmt: skip
    assert ended.code == 0 and "Memory: about" in ended.out, ended.err
