"""NVIDIA's generator against MONAI's own classes and scheduler: counts, import, sampling, guidance, contrast."""

from __future__ import annotations

import json
import os

import nibabel as nib
import numpy as np
import pytest
import torch
from command_line import vcm
from maisi_files import CONFIG, LATENT, SCALE, SHAPE, SPACING, lively, monai_denoiser, networks, write_files
from monai.apps.generation.maisi.networks.controlnet_maisi import ControlNetMaisi
from monai.networks.schedulers import RFlowScheduler
from vcm.models.backbones.maisi.networks import build_autoencoder, build_denoiser
from vcm.models.backbones.maisi.published import AUTOENCODER, DENOISER
from vcm.models.loading import load_backbone
from vcm.packs.manifest import IntensityScale
from vcm.packs.store import find_pack
from vcm.sampling.loop import sample_latents
from vcm.volumes.volume_files import read_volume

WITH_CLASSES = {
    **CONFIG["denoiser"], "resblock_updown": True, "include_fc": True, "include_top_region_index_input": False,
    "include_bottom_region_index_input": False,
}  # fmt: skip
"""The tiny denoiser in the words of a model that has no classes."""

CODES = {"T1w": 9, "T2w": 10, "FLAIR": 11, "SWI": 20}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the tiny files, and `tiny-brain` imported from them by the command line."""
    folder = tmp_path_factory.mktemp("maisi")
    files = write_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(folder / "packs"))
        ended = import_files("tiny-brain", files)
        assert ended.code == 0, ended.err
    noise = torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(3))
    np.save(folder / "noise.npy", noise.numpy())
    return folder


@pytest.fixture(autouse=True)
def home(place, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(place / "packs"))


def import_files(name, files, *more):
    return vcm("packs", "import", name, "--family", "maisi", "--autoencoder", files["autoencoder"],
               "--denoiser", files["denoiser"], "--config", files["config"], *more)  # fmt: skip


def made_by_monai(noise, code, steps, scale, spacing=SPACING):
    """Latent and image by NVIDIA's recipe, written down from its facts with MONAI's classes alone."""
    autoencoder, unet = networks()
    scheduler = RFlowScheduler(1000, use_discrete_timesteps=False, use_timestep_transform=True, sample_method="uniform")
    scheduler.set_timesteps(steps, input_img_size_numel=noise[0, 0].numel())
    following = torch.cat([scheduler.timesteps[1:], torch.zeros(1)])
    spacing = torch.tensor([spacing]) * 100
    z = noise
    with torch.no_grad():
        for t, next_t in zip(scheduler.timesteps, following, strict=True):
            asked = {"timesteps": torch.tensor([float(t)]), "spacing_tensor": spacing}
            v = unet(z, class_labels=torch.tensor([code]), **asked)
            if scale != 1:
                free = unet(z, class_labels=torch.tensor([0]), **asked)
                v = free + scale * (v - free)
            z, _ = scheduler.step(v, t, z, next_t)
        return z, autoencoder.decode(z / SCALE)[0, 0].numpy()


def generate(folder, out, *more):
    ended = vcm("generate", "--pack", "tiny-brain", "--noise", folder / "noise.npy", "--out", out, *more)
    assert ended.code == 0, ended.err
    return nib.load(out / "sample-0.nii.gz")


def inputs(backbone, contrast, guidance):
    values = {"contrast": float(CODES[contrast]), "guidance": (guidance - 1) / 19}
    return torch.tensor([[values[spec.name] for spec in backbone.attributes]])


def noise_of(place):
    return torch.from_numpy(np.load(place / "noise.npy"))


def test_the_published_networks_have_the_published_tensors_and_parameters():
    with torch.device("meta"):
        autoencoder, denoiser = build_autoencoder(AUTOENCODER), build_denoiser(DENOISER)
        controlnet = ControlNetMaisi(
            **{name: DENOISER[name] for name in DENOISER if name not in ("out_channels", "include_spacing_input")},
            conditioning_embedding_in_channels=8,
            conditioning_embedding_num_channels=[8, 32, 64],
        )
    counts = [
        (len(network.state_dict()), sum(p.numel() for p in network.parameters()))
        for network in (autoencoder, denoiser, controlnet)
    ]
    assert counts == [(130, 20_944_897), (435, 180_500_868), (231, 72_037_072)]
    assert denoiser.state_dict()["down_blocks.0.resnets.0.time_emb_proj.weight"].shape == (64, 512)
    assert "encoder.blocks.1.conv1.conv.conv.weight" in autoencoder.state_dict()


@pytest.mark.parametrize(("contrast", "scale", "steps"), [("FLAIR", 2.0, 5), ("T1w", 1.0, 3), ("SWI", 7.5, 4)])
def test_latent_and_image_are_those_of_the_published_recipe_run_with_monai_s_classes(
    place, tmp_path, contrast, scale, steps
):
    latent, image = made_by_monai(noise_of(place), CODES[contrast], steps, scale)
    backbone = load_backbone(find_pack("tiny-brain"))
    ours = sample_latents(backbone, inputs(backbone, contrast, scale), noise_of(place), sampler="rflow", steps=steps)
    assert (ours - latent).abs().max() < 2e-4 * latent.std()
    file = generate(place, tmp_path, "--sampler", "rflow", "--steps", steps, "--attribute", f"contrast={contrast}",
                    "--attribute", f"guidance={scale}")  # fmt: skip
    assert file.shape == SHAPE and nib.aff2axcodes(file.affine) == ("R", "A", "S")
    assert np.abs(np.asarray(file.dataobj) - image).max() < 1e-3 * image.std()


def test_another_size_and_spacing_are_made_by_rule_as_monai_s_classes_make_them(place, tmp_path):
    pack = find_pack("tiny-brain")
    assert pack.backbone.sizes.words == "multiples of 32 voxels up to 512, of 0.4 to 5 mm"
    backbone = load_backbone(pack.resized("64x32x64", "0.8x1.7x2.5"))
    assert backbone.latent_shape == (4, 16, 8, 16) and backbone.spacing.tolist() == pytest.approx([80, 170, 250])
    assert backbone.process.shift == pytest.approx(0.39685026), "the cube root of 16·8·16 / 32³ = 1/16"
    assert load_backbone(pack).process.shift == pytest.approx(0.45428), "of 8·16·24 / 32³ = 3/32"
    noise = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(8))
    np.save(tmp_path / "noise.npy", noise.numpy())
    latent, image = made_by_monai(noise, CODES["T2w"], 4, 2.0, (0.8, 1.7, 2.5))
    ours = sample_latents(backbone, inputs(backbone, "T2w", 2.0), noise, sampler="rflow", steps=4)
    assert (ours - latent).abs().max() < 2e-4 * latent.std()
    file = generate(tmp_path, tmp_path / "out", "--size", "64x32x64", "--spacing", "0.8x1.7x2.5", "--steps", 4,
                    "--attribute", "contrast=T2w", "--attribute", "guidance=2")  # fmt: skip
    assert file.shape == (64, 32, 64) and np.allclose(np.diag(file.affine), (0.8, 1.7, 2.5, 1))
    assert np.allclose(file.affine[:3] @ (31.5, 15.5, 31.5, 1), pack.backbone.grid.centre, atol=1e-4)
    assert np.abs(np.asarray(file.dataobj) - image).max() < 1e-3 * image.std()


@pytest.mark.parametrize(
    ("option", "words"),
    [("--size=48x64x96", "multiples of 32"), ("--size=544", "up to 512"), ("--spacing=1x1x0.3", "0.4 to 5 mm")],
)
def test_a_size_or_spacing_outside_the_rule_is_refused(tmp_path, option, words):
    ended = vcm("generate", "--pack", "tiny-brain", option, "--out", tmp_path / "out")
    assert ended.code == 2 and words in ended.err and not (tmp_path / "out").exists()


def test_a_flow_is_sampled_as_nvidia_samples_it_where_nobody_chooses(place, tmp_path):
    asked = ("--attribute", "guidance=1")
    usual = np.asarray(generate(place, tmp_path / "usual", *asked).dataobj)
    named = generate(place, tmp_path / "named", *asked, "--sampler", "rflow", "--steps", 30)
    assert np.array_equal(usual, np.asarray(named.dataobj))
    sampling = json.loads((tmp_path / "usual" / "report.json").read_text())["sampling"]
    assert (sampling["sampler"], sampling["steps"]) == ("rflow", 30)


def test_a_guidance_scale_of_one_is_no_guidance_bit_for_bit(place):
    backbone = load_backbone(find_pack("tiny-brain"))
    asked = []
    backbone.denoiser.register_forward_hook(lambda module, given, answer: asked.append(1))
    ones = sample_latents(backbone, inputs(backbone, "T2w", 1), noise_of(place), sampler="euler", steps=2)
    assert len(asked) == 2
    twos = sample_latents(backbone, inputs(backbone, "T2w", 2), noise_of(place), sampler="euler", steps=2)
    assert len(asked) == 6 and not torch.equal(ones, twos)
    alone, middle = noise_of(place), backbone.process.time_at(0.5)
    for t, following in ((1000.0, middle), (middle, 0.0)):
        with torch.no_grad():
            v = backbone.denoiser(
                alone, timesteps=torch.tensor([t]), class_labels=torch.tensor([10]),
                spacing_tensor=torch.tensor([SPACING]) * 100,
            )  # fmt: skip
        alone = alone + (t - following) / 1000 * v
    assert torch.allclose(ones, alone, atol=1e-5)
    t, raw = torch.tensor([600.0]), inputs(backbone, "T2w", 1)
    with torch.no_grad():
        plain = -backbone.denoiser(alone, t, class_labels=torch.tensor([10]), spacing_tensor=backbone.spacing[None])
        assert torch.equal(backbone.predict(alone, t, raw), plain)


def test_the_contrast_and_the_spacing_change_the_image_and_nothing_else_does(place, tmp_path):
    one, again, other = (
        np.asarray(generate(place, tmp_path / str(n), "--steps", 2, "--attribute", f"contrast={name}").dataobj)
        for n, name in enumerate(("T1w", "t1w", "T2w"))
    )
    assert np.array_equal(one, again) and np.abs(one - other).max() > 1e-2 * one.std()
    backbone = load_backbone(find_pack("tiny-brain"))
    t, raw = torch.tensor([500.0]), inputs(backbone, "T1w", 1)
    with torch.no_grad():
        near = backbone.predict(noise_of(place), t, raw)
        backbone.spacing.copy_(backbone.spacing[[1, 0, 2]])
        assert (backbone.predict(noise_of(place), t, raw) - near).abs().max() > 1e-4


def test_a_class_that_the_network_does_not_have_is_refused(place, tmp_path):
    ended = vcm("generate", "--pack", "tiny-brain", "--out", tmp_path, "--attribute", "contrast.raw=40")
    assert ended.code == 1 and "between 0 and 39" in ended.err
    ended = vcm("generate", "--pack", "tiny-brain", "--out", tmp_path, "--attribute", "contrast=PD")
    assert ended.code == 1 and "T1w, T2w, FLAIR" in ended.err


def test_the_pack_says_what_the_file_said_and_where_the_field_of_view_lies():
    manifest = find_pack("tiny-brain").backbone
    assert (manifest.family, manifest.latent.scale_factor, manifest.latent.shape) == ("maisi", SCALE, LATENT)
    assert np.allclose(manifest.grid.spacing, SPACING)
    middle = [(n - 1) / 2 for n in SHAPE]
    assert np.allclose(manifest.grid.affine @ [*middle, 1], [0, -18, 0, 1])
    assert manifest.process.shift == pytest.approx((8 * 16 * 24 / 32768) ** (1 / 3))


def test_latents_of_images_are_the_scaled_means_of_monai_s_encoder(place):
    backbone, (autoencoder, _) = load_backbone(find_pack("tiny-brain")), networks()
    image = torch.rand(1, 1, *SHAPE)
    with torch.no_grad():
        mean, spread = autoencoder.encode(image)
        ours, ours_spread = backbone.posterior(image)
        assert torch.allclose(ours, mean * SCALE, atol=1e-5) and torch.allclose(ours_spread, spread * SCALE, atol=1e-5)
        assert torch.equal(backbone.encode(image), ours)


def changed(files, folder, role, change):
    """A copy of a file with its named tensors changed."""
    content = torch.load(files[role], weights_only=False)
    change(content["unet_state_dict"] if role == "denoiser" else content)
    torch.save(content, folder / files[role].name)
    return {**files, role: folder / files[role].name}


@pytest.mark.parametrize(
    ("role", "change", "words"),
    [
        ("denoiser", lambda s: s.pop("spacing_layer.2.weight"), "lacks 1 of"),
        ("denoiser", lambda s: s.update(extra=torch.ones(2)), "has 1 tensors that this network has no place for"),
        ("autoencoder", lambda s: s.pop("quant_conv_mu.conv.bias"), "lacks 1 of"),
        ("autoencoder", lambda s: s.update({"quant_conv_mu.conv.bias": torch.ones(5)}), "of another shape"),
        ("denoiser", lambda s: s.update({"time_embed.0.bias": torch.full((32,), torch.nan)}), "not numbers"),
    ],
)
def test_a_file_with_one_tensor_missing_foreign_or_broken_is_refused(place, tmp_path, role, change, words):
    files = {**{r: place / n for r, n in (("autoencoder", "autoencoder_v1.pt"), ("config", "config.json"))},
             "denoiser": place / "diff_unet_3d_rflow-mr-brain_v1.pt"}  # fmt: skip
    files = changed(files, tmp_path, role, change)
    ended = import_files("broken", files)
    assert ended.code == 1 and words in ended.err and str(files[role]) in ended.err and "Traceback" not in ended.err
    assert not (place / "packs" / "broken").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"image_shape": [32, 48, 96]}, "no multiples of 32"),
        ({"image_shape": [32, 64]}, "a list of 3"),
        ({"spacing": [1, 0, 1]}, "not above 0"),
        ({"model": "rflow-mri"}, "rflow-mr-brain, rflow-ct, ddpm-ct"),
        ({"guidance": 0.5}, "between 1 and 20"),
        ({"scale": 1}, "scale_factor"),
        ({"denoiser": {"num_channels": [8, 16]}}, "can be built"),
        ({"denoiser": {"norm_num_groups": 0}}, "can be built"),
        ({"contrasts": {"T1w": 9, "T2w": 40}}, "classes from 0 to 39"),
        ({"contrasts": {"T1w": -1}}, "classes from 0 to 39"),
        ({"model": "ddpm-ct", "denoiser": WITH_CLASSES}, "classes from 0 to 39"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused_in_a_sentence(place, tmp_path, config, words):
    files = {"autoencoder": place / "autoencoder_v1.pt", "denoiser": place / "diff_unet_3d_rflow-mr-brain_v1.pt"}
    (tmp_path / "other.json").write_text(json.dumps(CONFIG | config))
    ended = import_files("broken", {**files, "config": tmp_path / "other.json"})
    assert ended.code == 1 and words in " ".join(ended.err.split()) and "Traceback" not in ended.err
    assert not (place / "packs" / "broken").exists()


def test_the_chest_model_is_imported_as_a_flow_and_makes_hounsfield_units(place, tmp_path):
    files = {"autoencoder": place / "autoencoder_v1.pt", "denoiser": place / "diff_unet_3d_rflow-mr-brain_v1.pt"}
    (tmp_path / "ct.json").write_text(json.dumps(CONFIG | {"model": "rflow-ct"}))
    assert import_files("tiny-chest", {**files, "config": tmp_path / "ct.json"}).code == 0
    manifest = find_pack("tiny-chest").backbone
    assert (manifest.body_part, manifest.process.kind, manifest.process.prediction) == ("CHEST", "flow", "velocity")
    (contrast,) = [spec for spec in manifest.attributes if spec.role == "contrast"]
    assert dict(contrast.choices) == {"CT": 1.0}
    ended = vcm("generate", "--pack", "tiny-chest", "--steps", 2, "--seed", 4, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    made = np.asarray(read_volume(tmp_path / "out" / "sample-0.nii.gz").array)
    assert made.min() >= -1000 and made.max() <= 1000 and made.min() < -1 and np.ptp(made) > 10


def test_files_that_were_swapped_or_belong_to_another_family_are_refused(place, tmp_path):
    from sample_packs import make_checkpoints

    files = {"autoencoder": place / "autoencoder_v1.pt", "denoiser": place / "diff_unet_3d_rflow-mr-brain_v1.pt"}
    files["config"] = place / "config.json"
    others = make_checkpoints(tmp_path)
    for wrong in (
        {"autoencoder": files["denoiser"], "denoiser": files["autoencoder"]},
        {"denoiser": others["denoiser"]},
        {"autoencoder": others["autoencoder"]},
    ):
        ended = import_files("broken", {**files, **wrong})
        assert ended.code == 1 and "belongs to another configuration" in " ".join(ended.err.split())
    ended = vcm("packs", "import", "broken", "--autoencoder", files["autoencoder"], "--denoiser", files["denoiser"])
    assert ended.code == 1 and "Traceback" not in ended.err
    ended = vcm("packs", "import", "broken", "--family", "mais", "--autoencoder", files["autoencoder"],
                "--denoiser", files["denoiser"])  # fmt: skip
    assert ended.code == 1 and "knows no family of backbones 'mais'" in " ".join(ended.err.split())


def test_a_file_that_carries_program_code_is_refused_and_none_of_it_runs(place, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'harmed'}",)

    content = torch.load(place / "diff_unet_3d_rflow-mr-brain_v1.pt", weights_only=False)
    torch.save({**content, "loss": Harm()}, tmp_path / "harm.pt")
    files = {"autoencoder": place / "autoencoder_v1.pt", "config": place / "config.json"}
    ended = import_files("broken", {**files, "denoiser": tmp_path / "harm.pt"})
    assert ended.code == 1 and "carries program code" in ended.err
    assert not (tmp_path / "harmed").exists()


def test_the_scale_factor_is_taken_from_the_configuration_where_the_file_has_none(place, tmp_path):
    content = torch.load(place / "diff_unet_3d_rflow-mr-brain_v1.pt", weights_only=False)
    torch.save(content["unet_state_dict"], tmp_path / "bare.pt")
    files = {"autoencoder": place / "autoencoder_v1.pt", "denoiser": tmp_path / "bare.pt"}
    ended = import_files("bare", {**files, "config": place / "config.json"})
    assert ended.code == 1 and "no usable scale_factor" in ended.err
    (tmp_path / "scaled.json").write_text(json.dumps({**CONFIG, "scale_factor": 0.9696779847145081}))
    assert import_files("bare", {**files, "config": tmp_path / "scaled.json"}).code == 0
    assert find_pack("bare").backbone.latent.scale_factor == 0.9696779847145081


def test_regions_of_the_body_are_told_as_monai_s_ddpm_network_takes_them(tmp_path):
    changes = {"num_class_embeds": None, "resblock_updown": False, "include_fc": False,
               "include_top_region_index_input": True, "include_bottom_region_index_input": True}  # fmt: skip
    torch.manual_seed(8)
    autoencoder, theirs = networks()[0], lively(monai_denoiser(**changes))
    torch.save(autoencoder.state_dict(), tmp_path / "autoencoder_v1.pt")
    torch.save({"unet_state_dict": theirs.state_dict(), "scale_factor": torch.tensor(0.9)}, tmp_path / "ddpm.pt")
    denoiser = {name: value for name, value in CONFIG["denoiser"].items() if name != "num_class_embeds"}
    (tmp_path / "ct.json").write_text(json.dumps({**CONFIG, "model": "ddpm-ct", "denoiser": denoiser}))
    ended = import_files("ct", {"autoencoder": tmp_path / "autoencoder_v1.pt", "denoiser": tmp_path / "ddpm.pt",
                                "config": tmp_path / "ct.json"})  # fmt: skip
    assert ended.code == 0, ended.err
    backbone = load_backbone(find_pack("ct"))
    assert [spec.name for spec in backbone.attributes] == ["top_region", "bottom_region"]
    assert (backbone.process.kind, backbone.process.beta_end) == ("scaled_linear", 0.0195)
    assert find_pack("ct").backbone.sampling.sampler == "dpm++", "rflow is for flows"
    assert find_pack("ct").backbone.intensity == IntensityScale(-1000, 1000, "HU")
    assert find_pack("tiny-brain").backbone.intensity is None
    z, t = torch.randn(1, *LATENT), torch.tensor([400.0])
    with torch.no_grad():
        expected = theirs(
            z, t, spacing_tensor=torch.tensor([SPACING]) * 100,
            top_region_index_tensor=torch.tensor([[0, 100.0, 0, 0]]),
            bottom_region_index_tensor=torch.tensor([[0, 0, 0, 100.0]]),
        )  # fmt: skip
        ours = backbone.predict(z, t, torch.tensor([[1.0, 3.0]]))
        assert torch.allclose(ours, expected, atol=1e-5)
        assert not torch.allclose(backbone.predict(z, t, torch.tensor([[0.0, 3.0]])), expected, atol=1e-3)
        hint, shown = torch.zeros(1, 8, *LATENT[1:]), backbone.shown(z, torch.tensor([[1.0, 3.0]]))
        encoder = backbone.copy_of_encoder(find_pack("ct").backbone.networks["denoiser"]).eval()
        own = backbone.denoiser.state_dict()
        encoder.load_state_dict({name: own[name] for name in encoder.state_dict()})
        skips = []
        theirs.middle_block.register_forward_hook(lambda module, given, answer: skips.append(answer))
        theirs(z, t, spacing_tensor=torch.tensor([SPACING]) * 100, top_region_index_tensor=shown.context[:, 4:8],
               bottom_region_index_tensor=shown.context[:, 8:])  # fmt: skip
        assert torch.allclose(encoder(shown, t, hint).middle, skips[0], atol=1e-4)


@pytest.mark.parametrize("slab_bytes", [1, 40_000, 2**20])
def test_slabs_make_the_image_of_monai_s_decoder(place, slab_bytes):
    backbone, (autoencoder, _) = load_backbone(find_pack("tiny-brain")), networks()
    latent = torch.randn(1, *LATENT)
    with torch.no_grad():
        whole = autoencoder.decode(latent / SCALE)
        backbone.slab_bytes = slab_bytes
        slabs = backbone.decode(latent)
    assert (slabs - whole).abs().max() < 1e-4 * whole.std()


def test_the_scale_of_guidance_is_looked_at_once_a_sample_so_that_a_step_can_be_captured(place, monkeypatch):
    from vcm.sampling.guidance import GuidedDenoiser

    backbone, asked = load_backbone(find_pack("tiny-brain")), []
    with torch.no_grad():
        denoiser = GuidedDenoiser(backbone, inputs(backbone, "T1w", 3))
        denoiser(noise_of(place), 900.0)
        monkeypatch.setattr(type(backbone), "_is_guided", refuse_to_look(type(backbone)._is_guided, asked))
        denoiser(noise_of(place), 500.0)
    assert asked == [True]


def refuse_to_look(is_guided, asked):
    """`_is_guided` where no number may be read from a tensor, as while a step is captured."""

    def look(self, inputs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "__bool__", lambda tensor: pytest.fail("a number was waited for"))
            asked.append(is_guided(self, inputs))
        return asked[-1]

    return look
