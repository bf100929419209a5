"""Controls on NVIDIA's generator: VCM on the velocity, ControlNet, and ControlNetMaisi against MONAI's own class."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from maisi_files import (
    CONFIG,
    LATENT,
    SHAPE,
    SPACING,
    lively,
    monai_controlnet,
    monai_denoiser,
    networks,
    write_files,
)
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.models.backbones.maisi.controlnet import HINT
from vcm.models.backbones.maisi.published import DENOISER
from vcm.models.controls.control import Step
from vcm.models.loading import CONTROLS, load_backbone
from vcm.packs.importing import import_family
from vcm.packs.store import find_pack
from vcm.runs.choice import on_grid
from vcm.sampling.loop import sample_latents

TISSUE = {"name": "tissue", "kind": "labels",
          "classes": [{"value": value, "name": f"c{value}"} for value in (3, 150, 6)]}  # fmt: skip
VENTRICLES = {"name": "ventricles", "kind": "mask", "classes": [{"value": 1, "name": "ventricles"}]}
SPECS = tuple(map(ConditionSpec.from_dict, (TISSUE, VENTRICLES)))
KINDS = [("vcm", "paper"), ("controlnet", "small"), ("controlnet-maisi", "small")]
CHANGES = {"vcm": {"encoder": {"channels": [4, 8], "norm_num_groups": 4}}}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maisi")
    files = write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(folder / "packs"))
        import_family("tiny-brain", "maisi", autoencoder=files["autoencoder"], denoiser=files["denoiser"],
                      config=CONFIG)  # fmt: skip
        loaded = load_backbone(find_pack("tiny-brain"))
        loaded.manifest = find_pack("tiny-brain").backbone
    return loaded.requires_grad_(False)


def labels():
    array = np.zeros(SHAPE, np.uint8)
    array[3:20, 10:31, 40:77], array[21:30, 40:55, 5:30], array[5:9, 50:60, 80:90] = 150, 3, 6
    return array


def conditions(backbone, **options):
    arrays = {"tissue": labels(), "ventricles": (labels() == 3).astype(np.uint8)}
    return [Condition(spec, Volume(arrays[spec.name], backbone.grid), **options) for spec in SPECS]


def tensors():
    label = torch.from_numpy(labels())
    return {
        "tissue": torch.stack([label == value for value in (3, 150, 6)])[None].float(),
        "ventricles": (label == 3)[None, None].float(),
    }


def control_of(kind, variant, backbone, seed=7, alive=True):
    torch.manual_seed(seed)
    made = CONTROLS[kind].configure(backbone.manifest, SPECS, variant, CHANGES.get(kind, {}))
    control = CONTROLS[kind].create(made, SPECS)
    control.begin(backbone)
    return (lively(control) if alive else control).eval()


def inputs(contrast=11.0, guidance=2.0):
    return torch.tensor([[contrast, (guidance - 1) / 19]])


def noise():
    return torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(("kind", "variant"), KINDS)
def test_without_strength_or_training_it_is_the_generator_alone_bit_for_bit(backbone, kind, variant):
    alone = sample_latents(backbone, inputs(), noise(), sampler="rflow", steps=2)
    fresh = control_of(kind, variant, backbone, alive=False)
    given = conditions(backbone)
    assert torch.equal(sample_latents(backbone, inputs(), noise(), fresh, given, sampler="rflow", steps=2), alone)
    trained = control_of(kind, variant, backbone)
    off = sample_latents(backbone, inputs(), noise(), trained, conditions(backbone, strength=0.0), sampler="rflow",
                         steps=2)  # fmt: skip
    on = sample_latents(backbone, inputs(), noise(), trained, given, sampler="rflow", steps=2)
    assert torch.equal(off, alone) and (on - alone).abs().max() > 1e-3


@pytest.fixture
def pack(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    files = write_files(tmp_path)
    weights = {role: files[role] for role in ("autoencoder", "denoiser")}
    return import_family("tiny-brain", "maisi", config=CONFIG, **weights)


def as_pack(backbone, kind, variant):
    networks = CONTROLS[kind].configure(backbone.manifest, SPECS, variant, CHANGES.get(kind, {}))
    return SimpleNamespace(name=kind, control=SimpleNamespace(networks=networks))


@pytest.mark.parametrize(("kind", "variant"), [("vcm", "paper"), ("controlnet-maisi", "small")])
def test_a_control_that_is_bound_to_no_place_acts_on_another_size(backbone, pack, kind, variant):
    larger = load_backbone(on_grid(pack, as_pack(backbone, kind, variant), "64x32x128", "1x2x0.75"))
    assert larger.latent_shape == (4, 16, 8, 32)
    mask = np.zeros(larger.grid.shape, np.uint8)
    mask[40:60, 5:20, 70:100] = 1
    given, z = [Condition(SPECS[1], Volume(mask, larger.grid))], torch.randn(1, *larger.latent_shape)
    alone, controlled = (
        sample_latents(larger, inputs(), z, *control, sampler="rflow", steps=1)
        for control in ((), (control_of(kind, variant, backbone), given))
    )
    assert controlled.shape == alone.shape and (controlled - alone).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["controlnet", "mcm"])
def test_a_control_that_was_trained_for_its_places_is_refused_on_another_size(backbone, pack, kind):
    bound = as_pack(backbone, kind, "small")
    with pytest.raises(VcmError, match=f"{kind} was made for images of one size"):
        on_grid(pack, bound, "64x32x128", None)
    assert on_grid(pack, bound, None, "1x2x0.75").backbone.grid.spacing == (1, 2, 0.75)


@pytest.mark.parametrize(("kind", "variant"), KINDS)
def test_a_few_steps_lower_the_loss_of_the_velocity_and_reach_the_control_alone(backbone, kind, variant):
    control = control_of(kind, variant, backbone, alive=False).train()
    torch.manual_seed(1)
    clean, t = torch.randn(1, *LATENT), torch.tensor([700.0])
    clean[:, :, :4] += 2.0
    alpha, sigma = backbone.process.levels(t)
    z = alpha * clean + sigma * noise()
    optimiser, losses = torch.optim.Adam(control.parameters(), lr=3e-3), []
    for _ in range(12):
        guided, _ = control.learn(Step.on(backbone, inputs(guidance=1), z, t), tensors())
        loss = (guided - (noise() - clean)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_vcm_modulates_the_velocity(backbone):
    control = control_of("vcm", "paper", backbone)
    t, active = torch.tensor([1000.0]), frozenset(("tissue", "ventricles"))
    step = Step.on(backbone, inputs(), noise(), t)
    assert step.kind == "velocity"
    with torch.no_grad():
        guided = control.guide(step, control.prepare(tensors(), [active]), active)
        velocity = backbone.predict(noise(), t, inputs())
        encoded = control.network.encode(tensors(), active, t)
        gamma, beta = control.network.modulation(noise(), velocity, t, encoded)
    assert torch.allclose(guided, velocity * (1 + gamma) + beta, atol=1e-6) and guided.isfinite().all()


def test_the_planes_are_the_bits_of_the_labels_lowest_first(backbone):
    control = control_of("controlnet-maisi", "small", backbone)
    planes = control.planes(tensors(), frozenset(("tissue", "ventricles")))[0]
    expected = [(labels() >> bit) & 1 for bit in range(8)]
    assert planes.shape == (9, *SHAPE)
    assert all(np.array_equal(planes[bit].numpy(), expected[bit]) for bit in range(8))
    assert np.array_equal(planes[8].numpy(), labels() == 3)
    assert not control.planes(tensors(), frozenset(("ventricles",)))[0, :8].any()


def test_what_it_adds_is_what_monai_s_class_adds_run_in_nvidia_s_loop(backbone):
    spec = (SPECS[0],)
    made = CONTROLS["controlnet-maisi"].configure(backbone.manifest, spec, "small", {})
    torch.manual_seed(3)
    control = lively(CONTROLS["controlnet-maisi"].create(made, spec)).eval()
    theirs = monai_controlnet()
    theirs.load_state_dict(control.network.state_dict())
    unet = networks()[1]
    bits = torch.stack([torch.from_numpy((labels() >> bit) & 1).float() for bit in range(8)])[None]
    z, times = noise(), [1000.0, backbone.process.time_at(0.5)]
    with torch.no_grad():
        for t, following in zip(times, [times[1], 0.0], strict=True):
            down, middle = theirs(z, timesteps=torch.tensor([t]), controlnet_cond=bits, class_labels=torch.tensor([20]))
            v = unet(
                z, timesteps=torch.tensor([t]), class_labels=torch.tensor([20]),
                spacing_tensor=torch.tensor([SPACING]) * 100, down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            )  # fmt: skip
            z = z + (t - following) / 1000 * v
    given = [Condition(spec[0], Volume(labels(), backbone.grid))]
    ours = sample_latents(backbone, inputs(20.0, 1.0), noise(), control, given, sampler="euler", steps=2)
    assert (ours - z).abs().max() < 2e-4 * z.std()


def test_it_begins_as_the_backbone_s_own_encoder_spacing_included(backbone):
    control = control_of("controlnet-maisi", "small", backbone, alive=False)
    copy = control_of("controlnet", "small", backbone, alive=False).network.encoder
    shown, t = backbone.shown(noise(), inputs()), torch.tensor([321.0])
    for layer in (*control.network.controlnet_down_blocks, control.network.controlnet_mid_block):
        convolution = layer if hasattr(layer, "weight") else layer.conv
        with torch.no_grad():
            torch.nn.init.dirac_(convolution.weight)
    hint = torch.zeros(1, 8, *LATENT[1:])
    with torch.no_grad():
        ours, own = control.network.guided(shown, t, hint), copy(shown, t, hint)
    for mine, theirs in zip((*ours.down, ours.middle), (*own.down, own.middle), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_as_published_it_has_the_published_tensors_of_which_monai_would_copy_180():
    with torch.device("meta"):
        options = {name: DENOISER[name] for name in DENOISER if name not in ("out_channels", "include_spacing_input")}
        theirs = ControlNetMaisi(**options, conditioning_embedding_in_channels=8,
                                 conditioning_embedding_num_channels=list(HINT))  # fmt: skip
        unet = monai_denoiser(DENOISER)
    assert len(theirs.state_dict()) == 231
    same = [
        n for n, w in theirs.state_dict().items() if n in unet.state_dict() and unet.state_dict()[n].shape == w.shape
    ]
    other = [n for n in theirs.state_dict() if n in unet.state_dict() and n not in same]
    assert len(same) == 180 and len(other) == 13 and all(name.endswith("time_emb_proj.weight") for name in other)


def test_another_family_is_refused_in_a_sentence(tmp_path, monkeypatch):
    import tiny

    monkeypatch.setenv("VCM_PACKS", str(tmp_path))
    tiny.write_packs(tmp_path)
    with pytest.raises(VcmError, match="for NVIDIA's generators; tiny is of the family latent-diffusion"):
        CONTROLS["controlnet-maisi"].configure(find_pack("tiny").backbone, SPECS, "small", {})
