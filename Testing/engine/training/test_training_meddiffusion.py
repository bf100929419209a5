"""Training 3D MedDiffusion's networks and controls of it, from a cohort to packs, all tiny."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from command_line import vcm
from meddiffusion_files import TINY_AUTOENCODER, TINY_DENOISER, noise, weights
from safetensors.torch import save_file
from small_cohort import write_cohort
from vcm.cohort.learning_cases import cohort_cases
from vcm.conditions.condition import Condition
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.backbones.meddiffusion.autoencoder import Codebook, PatchVolumeAutoencoder
from vcm.models.backbones.meddiffusion.bi_flow_net import BiFlowNet
from vcm.models.loading import load_backbone, load_control
from vcm.models.process import PARAMETERISATIONS, Prediction
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import find_pack
from vcm.sampling.loop import sample_latents
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.denoiser_run import open_denoiser_run
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.backbone.image_runs import open_autoencoder_run
from vcm.training.control.run import open_control_run
from vcm.training.control.settings import ControlSettings
from vcm.training.export.export import export_run
from vcm.training.trainer.team import Team

# The axes run up, to the left and back; three different sizes.
GRID = Grid((16, 32, 48), [[0, -4, 0, 62.0], [0, 0, -4, 85.0], [4, 0, 0, -30.0], [0, 0, 0, 1]])
USUAL = {"backbone": "tiny-med", "batch": 2, "precision": "fp32", "log_every": 5, "warmup": 2, "ema": 0.5}


@pytest.fixture
def packs(tmp_path, monkeypatch):
    """A packs' folder with the tiny model, whose attributes a small cohort has."""
    folder = tmp_path / "packs"
    monkeypatch.setenv("VCM_PACKS", str(folder))
    home = folder / "tiny-med"
    home.mkdir(parents=True)
    save_file(weights(PatchVolumeAutoencoder(**TINY_AUTOENCODER)), home / "autoencoder.safetensors")
    save_file(weights(BiFlowNet(**TINY_DENOISER)), home / "denoiser.safetensors")
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in TINY_DENOISER.items()}
    write_manifest(
        home,
        {
            "format": 1, "kind": "backbone", "family": "meddiffusion", "name": "tiny-med", "title": "Tiny",
            "version": "1", "licence": {"name": "Apache-2.0"},
            "files": {role: {"path": f"{role}.safetensors"} for role in ("autoencoder", "denoiser")},
            "grid": GRID.as_dict(), "latent": {"shape": [3, 4, 8, 12], "scale_factor": 1.0},
            "schedule": {"kind": "cosine", "timesteps": 1000, "prediction": "epsilon", "bound": 1.0},
            "networks": {"autoencoder": TINY_AUTOENCODER, "denoiser": listed},
            "attributes": [{"name": "sex", "title": "Sex", "choices": {"F": 0, "M": 1}, "default": 0}],
            "trained": {"autoencoder": True, "denoiser": True},
        },
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, 4, GRID)
    return folder


def name_contrasts(packs):
    """Make the tiny model's classes contrasts."""
    path = packs / "tiny-med" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["attributes"][0] |= {"name": "shown", "role": "contrast", "choices": {"T2w": 0, "T1w": 1}}
    path.write_text(json.dumps(manifest))


def column(run, name):
    log = run.trainer.log
    return [float(row[log.columns.index(name)]) for row in log.rows]


def autoencoder(cohort, folder, **settings):
    from vcm.cohort.files import read_cases

    cases = read_cases(cohort)
    chosen = AutoencoderSettings(**{**USUAL, "steps": 40, "learning_rate": 5e-3, "adversary_channels": 4, **settings})
    return open_autoencoder_run(chosen, cases[:3], folder, team=Team("cpu"), unseen=cases[3:])


def test_both_stages_of_the_autoencoder_bring_images_back(packs, cohort, tmp_path):
    first = autoencoder(cohort, tmp_path / "first")
    before = first.trainer.network.codebook.embeddings.clone()
    assert first.trainer.train() == "finished"
    assert column(first, "l1")[-1] < 0.7 * column(first, "l1")[0]
    assert not torch.equal(first.trainer.network.codebook.embeddings, before)
    assert torch.equal(first.trainer.network.codebook.embeddings, first.trainer.average.network.codebook.embeddings)
    export_run(tmp_path / "first", packs / "stage-one")
    made = find_pack("stage-one").backbone
    assert made.untrained == ("denoiser",) and made.latent.shape == (3, 4, 8, 12) and made.sizes.multiple == 16
    one = load_backbone(find_pack("stage-one"))

    second = autoencoder(cohort, tmp_path / "second", backbone="stage-one", stage=2, steps=20)
    kept = {name: t.clone() for name, t in second.trainer.network.state_dict().items()}
    second.trainer.train()
    assert column(second, "l1")[-1] < column(second, "l1")[0]
    for name, tensor in second.trainer.network.state_dict().items():
        resting = not name.startswith(("decoder.", "post_vq_conv."))
        assert not resting or torch.equal(tensor, kept[name]), name
    export_run(tmp_path / "second", packs / "stage-two")
    two = load_backbone(find_pack("stage-two"))
    image = noise((1, 1, *GRID.shape), 3).abs().clamp(max=1)
    with torch.no_grad():
        assert torch.equal(one.encode(image), two.encode(image))
        assert not torch.equal(one.decode(one.encode(image)), two.decode(two.encode(image)))
    assert find_pack("stage-two").backbone.files["denoiser"] == find_pack("stage-one").backbone.files["denoiser"]


def test_a_training_of_the_autoencoder_goes_on_bit_for_bit_its_codes_too(packs, cohort, tmp_path):
    whole = autoencoder(cohort, tmp_path / "whole", steps=6)
    whole.trainer.train()
    part = autoencoder(cohort, tmp_path / "parts", steps=6)
    for _ in range(3):
        part.trainer._gather(part.trainer.take_step())
    part.trainer.save()
    rest = autoencoder(cohort, tmp_path / "parts", steps=6)
    assert rest.trainer.step == 3
    rest.trainer.train()
    for (name, a), b in zip(
        whole.trainer.network.state_dict().items(), rest.trainer.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name


def test_codes_move_to_the_means_of_what_they_stand_for_and_forgotten_ones_begin_anew():
    codebook = Codebook(3, 2)
    points = torch.tensor([[0.0, 0.0], [0.2, 0.0], [5.0, 5.0], [5.0, 5.4]])
    latent = points.t().reshape(1, 2, 4, 1, 1)
    generator = torch.Generator().manual_seed(1)
    for _ in range(600):
        codebook.follow(latent, generator)
    nearest = codebook.quantise(latent)
    assert float((nearest - latent).abs().max()) < 0.25
    assert bool((codebook.N > 0).all())


def test_the_denoiser_learns_and_becomes_a_pack(packs, cohort, tmp_path):
    cases = cohort_cases(cohort, GRID)
    settings = DenoiserSettings(
        **{**USUAL, "steps": 60, "learning_rate": 3e-3, "batch": 4, "scratch": True, "loss": "l1", "sampling_steps": 2}
    )
    run = open_denoiser_run(
        settings, cases[:3], tmp_path / "run", latents=tmp_path / "latents", team=Team("cpu"), unseen=cases[3:]
    )
    table = run.task.network.pos_embed.clone()
    run.trainer.train()
    assert column(run, "loss")[-1] < 0.8 * column(run, "loss")[0]
    assert torch.equal(run.task.network.pos_embed, table)
    export_run(tmp_path / "run", packs / "taught")
    manifest = find_pack("taught").backbone
    assert manifest.family == "meddiffusion" and "whitening" not in manifest.files
    backbone = load_backbone(find_pack("taught"))
    latent = sample_latents(backbone, torch.tensor([[1.0]]), noise((1, 3, 4, 8, 12), 2), steps=3)
    assert bool(torch.isfinite(backbone.decode(latent)).all()) and float(latent.abs().max()) <= 1


def test_a_whitened_denoiser_is_shown_each_contrast_without_its_own_mean(packs, cohort, tmp_path):
    name_contrasts(packs)
    contrasts = {"image": {"shown": 1.0}, "skull": {"shown": 0.0}}
    cases = cohort_cases(cohort, GRID, 3, contrasts)
    chosen = {"steps": 2, "scratch": True, "whiten": True, "sampling_steps": 2}
    run = open_denoiser_run(
        DenoiserSettings(**{**USUAL, **chosen}), cases, tmp_path / "run", latents=tmp_path / "latents", team=Team("cpu")
    )
    latents = run.task.cache.latents.float()  # cases of T1w and of "T2w" in turns, each with its mirror image
    run.trainer.train()
    export_run(tmp_path / "run", packs / "white")
    made, plain = load_backbone(find_pack("white")), load_backbone(find_pack("tiny-med"))
    assert made.process.bound is None and find_pack("white").backbone.latent.whitened
    mean, spread = latents.flatten(0, 1).mean(0), latents.flatten(0, 1).std(0)
    std = spread.clamp(min=0.5 * float(spread.mean()) + 1e-3)  # air is not stretched as far as heads are
    assert 0 < (std > spread).float().mean() < 1
    assert torch.allclose(made.latent_mean, mean, atol=1e-5) and torch.allclose(made.latent_std, std, rtol=1e-4)
    t1, t2 = (latents[first::2].flatten(0, 1).mean(0) for first in (0, 1))
    assert torch.allclose(made.class_means[1] * std + mean, t1, atol=1e-4)
    assert torch.allclose(made.class_means[0] * std + mean, t2, atol=1e-4)
    assert float(made.class_means[2:].abs().max()) == 0  # classes that no case has

    image = noise((1, 1, *GRID.shape), 3).abs().clamp(max=1)
    with torch.no_grad():
        latent = made.encode(image)
        assert torch.allclose(latent * std + mean, plain.encode(image), atol=1e-5)
        assert torch.allclose(made.decode(latent), plain.decode(plain.encode(image)), atol=1e-4)
        assert torch.allclose(made.typical_image(), plain.decode(t2[None]), atol=1e-4)  # 0 is the usual one
        seen = []
        made.denoiser.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        z, times = noise((2, 3, 4, 8, 12), 2), torch.tensor([700.0, 30.0])
        made.predict(z, times, torch.tensor([[0.0], [1.0]]))
    alpha = made.process.levels(times)[0]
    assert torch.allclose(seen[0], z - alpha * made.class_means[:2], atol=1e-6)


def test_a_denoiser_from_a_whitened_pack_is_exported_as_it_was_trained(packs, cohort, tmp_path):
    cases, latents = cohort_cases(cohort, GRID, 3), tmp_path / "latents"

    def trained(name, backbone, **changes):
        chosen = {**USUAL, "backbone": backbone, "steps": 2, "scratch": True, "sampling_steps": 2, **changes}
        run = open_denoiser_run(
            DenoiserSettings(**chosen), cases, tmp_path / name, latents=latents / backbone, team=Team("cpu")
        )
        run.trainer.train()
        export_run(tmp_path / name, packs / name)
        return run.task.backbone, load_backbone(find_pack(name))

    image = noise((1, 1, *GRID.shape), 3).abs().clamp(max=1)
    plain = load_backbone(find_pack("tiny-med"))
    for name, options in {
        "first": {"backbone": "tiny-med", "whiten": True},
        "second": {"backbone": "first", "whiten": True},
        "third": {"backbone": "first"},
    }.items():
        in_training, exported = trained(name, **options)
        with torch.no_grad():
            latent = exported.encode(image)
            assert torch.allclose(in_training.encode(image), latent, atol=1e-4), name
            assert torch.allclose(exported.decode(latent), plain.decode(plain.encode(image)), atol=1e-3), name
        assert torch.allclose(in_training.class_means, exported.class_means, atol=1e-5), name


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@torch.no_grad()
def test_what_was_taken_out_of_a_class_is_a_part_of_what_is_predicted(packs, cohort, prediction, monkeypatch):
    """A network that knows the answer for latents without their class' mean: the clean latent has it again."""
    name_contrasts(packs)
    source, manifest = load_backbone(find_pack("tiny-med")), find_pack("tiny-med").backbone
    shape = (3, 4, 8, 12)
    held = {"mean": noise(shape, 1), "std": noise(shape, 2).abs() + 0.5, "means": noise((2, *shape), 3)}
    model, changed = type(source).retrain(source, manifest, {"scratch": True, "prediction": prediction}, held)
    assert changed["schedule"]["prediction"] == prediction and "bound" not in changed["schedule"]
    clean, drawn = noise((2, *shape), 4), noise((2, *shape), 5)
    t, inputs = torch.tensor([640.0, 80.0]), torch.tensor([[1.0], [0.0]])
    levels = model.process.levels(t)
    own = PARAMETERISATIONS[prediction].of(clean - model.class_means[[1, 0]], drawn, *levels)
    monkeypatch.setattr(model.denoiser, "forward", lambda *shown, **others: own)
    noisy = levels[0] * clean + levels[1] * drawn
    found = Prediction(noisy, model.predict(noisy, t, inputs), prediction)
    assert torch.allclose(found.clean(*levels), clean, atol=1e-4)
    assert torch.allclose(found.noise(*levels), drawn, atol=1e-4)


def test_a_denoiser_goes_on_in_another_prediction(packs, cohort, tmp_path):
    chosen = {**USUAL, "steps": 2, "sampling_steps": 2, "prediction": "v"}
    run = open_denoiser_run(
        DenoiserSettings(**chosen), cohort_cases(cohort, GRID, 3), tmp_path / "run", latents=tmp_path, team=Team("cpu")
    )
    before = load_backbone(find_pack("tiny-med")).denoiser.state_dict()
    assert all(torch.equal(before[name], value) for name, value in run.task.network.state_dict().items())
    run.trainer.train()
    export_run(tmp_path / "run", packs / "other")
    made = load_backbone(find_pack("other"))
    assert made.process.prediction == "v" and made.process.bound == 1.0
    latent = sample_latents(made, torch.tensor([[1.0]]), noise((1, 3, 4, 8, 12), 6), steps=3)
    assert bool(latent.isfinite().all()) and float(latent.abs().max()) <= 1


def test_an_autoencoder_trained_after_a_whitened_pack_becomes_a_pack(packs, cohort, tmp_path):
    settings = DenoiserSettings(**{**USUAL, "steps": 2, "scratch": True, "whiten": True, "sampling_steps": 2})
    options = {"latents": tmp_path / "latents", "team": Team("cpu")}
    open_denoiser_run(settings, cohort_cases(cohort, GRID, 3), tmp_path / "run", **options).trainer.train()
    export_run(tmp_path / "run", packs / "white")
    autoencoder(cohort, tmp_path / "new", backbone="white", steps=2).trainer.train()
    export_run(tmp_path / "new", packs / "new")
    made = find_pack("new").backbone
    assert not made.latent.whitened and "whitening" not in made.files and made.process.bound == 1


def test_packing_is_refused(packs, cohort, tmp_path):
    settings = DenoiserSettings(**{**USUAL, "scratch": True, "packing": 2})
    with pytest.raises(VcmError, match="no packing to choose"):
        open_denoiser_run(
            settings, cohort_cases(cohort, GRID), tmp_path / "run", latents=tmp_path / "latents", team=Team("cpu")
        )


CONTROLS = {
    "vcm": {"variant": "small"},
    "vcm-paper": {
        "variant": "paper",
        "network": {
            "encoder": {"channels": [4, 8], "num_res_blocks": 1, "norm_num_groups": 4, "resblock_updown": False},
            "unet": {
                "channels": [8, 16], "num_res_blocks": 1, "attention_levels": [False, False], "norm_num_groups": 4,
                "num_head_channels": 8, "in_channels": 14,
            },
            "heads": {"hidden": 8},
        },
    },
    "controlnet": {"variant": "small", "architecture": "controlnet"},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["ldm-scratch", "ldm-fine-tuned"])
def test_a_copy_of_its_denoiser_that_takes_conditions_as_channels_is_refused_in_a_sentence(
    packs, cohort, tmp_path, kind
):
    ended = vcm("train", "control", "--backbone", "tiny-med", "--control-kind", kind, "--conditions", "ventricles",
                "--cases", cohort, "--device", "cpu", "--out", tmp_path / "run")  # fmt: skip
    assert ended.code == 2 and not (tmp_path / "run").exists()
    said = " ".join(ended.err.split())
    assert "no such copy can be made of tiny-med (family meddiffusion)" in said and "such as vcm" in said


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_learns_on_it_and_strength_zero_is_the_backbone_alone_bit_for_bit(packs, cohort, tmp_path, kind):
    cases = cohort_cases(cohort, GRID)
    settings = ControlSettings(
        **{**USUAL, "steps": 30, "learning_rate": 5e-3, "conditions": ("ventricles",), "focus": 0.0, **CONTROLS[kind]}
    )
    run = open_control_run(settings, cases, tmp_path / "run", latents=tmp_path / "latents", team=Team("cpu"))
    frozen = {name: t.clone() for name, t in run.task.backbone.state_dict().items()}
    run.trainer.train()
    assert all(torch.equal(t, frozen[name]) for name, t in run.task.backbone.state_dict().items())
    export_run(tmp_path / "run", packs / f"tiny-med-{kind}")
    backbone, control = load_backbone(find_pack("tiny-med")), load_control(find_pack(f"tiny-med-{kind}"))
    mask = np.zeros(GRID.shape, np.uint8)
    mask[3:9, 6:14, 10:20] = 1
    start, inputs = noise((1, 3, 4, 8, 12), 4), torch.tensor([[1.0]])
    alone = sample_latents(backbone, inputs, start, steps=4)
    off, on = (
        sample_latents(
            backbone,
            inputs,
            start,
            control,
            [Condition(control.conditions[0], Volume(mask, GRID), strength=s)],
            steps=4,
        )
        for s in (0.0, 1.0)
    )
    assert torch.equal(off, alone) and not torch.equal(on, alone)
    manifest = json.loads((packs / f"tiny-med-{kind}" / "manifest.json").read_text())
    assert manifest["backbone"]["name"] == "tiny-med"
