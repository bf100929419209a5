"""3D MedDiffusion by the way users take: `vcm packs import`, the Generator, `vcm generate`."""

from __future__ import annotations

import json
from dataclasses import replace

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
    weights,
    write_checkpoints,
)
from vcm.cli import main
from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.backbones.meddiffusion.autoencoder import PatchVolumeAutoencoder
from vcm.models.backbones.meddiffusion.backbone import MedDiffusion
from vcm.models.backbones.meddiffusion.bi_flow_net import BiFlowNet
from vcm.models.loading import load_backbone
from vcm.packs.store import find_pack
from vcm.sampling.loop import sample_latents
from vcm.volumes.volume_files import read_volume, write_volume

beside_the_repository = pytest.mark.skipif(not THERE, reason=ABSENT)
TINY_CONFIG = {
    "image_shape": [32, 48, 16], "spacing": [1.0, 1.5, 2.0], "orientation": "LPS", "centre": [1.0, -2.0, 3.0],
    "autoencoder": {"num_groups": 4, "patch_size": 16},
    "denoiser": {"resnet_groups": 4, "vq_size": 16, "attn_heads": 2},
}  # fmt: skip


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def tiny_files(folder, **config) -> list[str]:
    files = write_checkpoints(folder, PatchVolumeAutoencoder(**TINY_AUTOENCODER), BiFlowNet(**TINY_DENOISER))
    (folder / "config.json").write_text(json.dumps({**TINY_CONFIG, **config}))
    return [*files, f"--config={folder / 'config.json'}"]


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """A packs' folder with the tiny model, imported by the command line."""
    folder = tmp_path_factory.mktemp("meddiffusion")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(folder / "packs"))
        assert command("packs", "import", "tiny-med", *tiny_files(folder / "files")) == 0
        yield folder / "packs"


def tiny():
    return load_backbone(find_pack("tiny-med"))


def test_the_networks_are_read_from_the_shapes_and_the_averaged_weights_are_taken(packs):
    manifest = find_pack("tiny-med").backbone
    listed = {name: list(value) if isinstance(value, tuple) else value for name, value in TINY_DENOISER.items()}
    assert manifest.networks["denoiser"] == {**listed, "num_mid_DiT": 1, "init_kernel_size": 3, "learn_sigma": False}
    assert manifest.networks["autoencoder"] == {**TINY_AUTOENCODER, "intensity_scale": 1.0}
    plain = BiFlowNet(**TINY_DENOISER)
    plain.load_state_dict(weights(plain))
    latent, t, inputs = noise((2, *tiny().latent_shape), 9), torch.tensor([999.0, 3.0]), torch.tensor([[2.0], [0.0]])
    with torch.no_grad():
        assert torch.equal(tiny().predict(latent, t, inputs), plain.eval()(latent, t, torch.tensor([2, 0])))


def test_the_grid_has_the_networks_axes_where_the_configuration_puts_them(packs):
    grid = tiny().grid
    assert grid.shape == (16, 32, 48) and tiny().latent_shape == (3, 4, 8, 12)
    assert grid.orientation == "SLP" and np.allclose(grid.spacing, (2.0, 1.0, 1.5))
    assert np.allclose(grid.centre, (1, -2, 3))


def test_an_image_comes_back_through_the_codes_next_to_its_latents(packs):
    backbone = tiny()
    image = (noise((1, 1, *backbone.grid.shape), 5) * 0.2 + 0.5).clamp(0, 1)
    with torch.no_grad():
        latent = backbone.encode(image)
        network = backbone.autoencoder
        low, high = network.codebook.span()
        raw = network.encode(image * 2 - 1)
        assert torch.allclose((latent + 1) / 2 * (high - low) + low, raw, atol=1e-5)
        wanted = (network.decode(network.codebook.quantise(raw)) + 1) / 2
        assert relative(backbone.decode(latent), wanted) < 1e-4


def test_classes_are_a_choice_by_name_or_by_number(packs, tmp_path):
    made = {}
    for name, value in (("a", "class=class 2"), ("b", "class.raw=2"), ("c", "class=class 0")):
        out = tmp_path / name
        options = ("--seed=3", "--steps=2", "--device=cpu", "--precision=fp32", f"--out={out}")
        assert command("generate", "--pack=tiny-med", f"--attribute={value}", *options) == 0
        made[name] = read_volume(out / "sample-0.nii.gz")
    assert np.array_equal(made["a"].array, made["b"].array) and not np.array_equal(made["a"].array, made["c"].array)
    assert made["a"].grid.same_as(tiny().grid)
    with pytest.raises(VcmError, match="between 0 and 3"):
        tiny().classes(torch.tensor([[4.0]]))


UNTRAINED = {
    **TINY_CONFIG,
    "autoencoder": {"kind": "local", "embedding_dim": 4, "n_codes": 16, "channels": [8, 8]},
    "denoiser": {**TINY_DENOISER, "channels": 4, "cond_classes": 2},
    "classes": {"T1w": 0, "T2w": 1}, "contrasts": True,
}  # fmt: skip


def begun(folder, *options, **changes):
    (folder / "new.json").write_text(json.dumps({**UNTRAINED, **changes}))
    return command("packs", "new", "begun", "--family=meddiffusion", f"--config={folder / 'new.json'}", *options)


def test_a_model_is_begun_with_random_weights_and_says_so(packs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    assert begun(tmp_path) == 0
    pack = find_pack("begun")
    assert set(pack.manifest.untrained) == {"autoencoder", "denoiser"} and "untrained" in pack.manifest.title
    assert pack.backbone.latent.shape == (4, 4, 8, 12) and pack.backbone.grid.shape == (16, 32, 48)
    backbone = load_backbone(pack)
    first = [tensor.clone() for tensor in backbone.denoiser.parameters()]
    assert len({round(float(tensor.detach().std()), 6) for tensor in first if tensor.ndim > 2}) > 5
    latent = sample_latents(backbone, torch.tensor([[1.0]]), noise((1, 4, 4, 8, 12), 2), steps=2)
    assert bool(torch.isfinite(backbone.decode(latent)).all())
    assert begun(tmp_path) == 2 and "--force" in capsys.readouterr().err
    for seed, same in ((1, True), (2, False)):
        assert begun(tmp_path, f"--seed={seed}", "--force") == 0
        again = load_backbone(find_pack("begun")).denoiser.parameters()
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)) is same


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"denoiser": {**UNTRAINED["denoiser"], "channels": 3}}, "latents of 4 channels, its denoiser 3"),
        ({"denoiser": {**UNTRAINED["denoiser"], "dim": 10}}, "must divide by 6"),
        ({"autoencoder": {"kind": "local", "embeding_dim": 4}}, "embeding_dim"),
        ({"image_shape": [31, 48, 16]}, "multiples of 16"),
        ({"classes": {"T1w": 0, "T2w": 2}}, "numbers from 0 to 1"),
    ],
)
def test_a_model_that_cannot_be_is_not_begun(packs, tmp_path, monkeypatch, capsys, change, words):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    assert begun(tmp_path, **change) == 1
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "packs" / "begun").exists()


def test_a_family_that_is_not_begun_from_nothing_says_so(packs, tmp_path, capsys):
    (tmp_path / "new.json").write_text("{}")
    assert command("packs", "new", "begun", "--family=maisi", f"--config={tmp_path / 'new.json'}") == 2
    assert "not begun from nothing" in capsys.readouterr().err


def test_the_class_is_the_attribute_that_names_the_contrast_whatever_it_is_called(packs):
    pack = find_pack("tiny-med")
    manifest = pack.backbone
    age, shown = AttributeSpec("age", "Age"), replace(manifest.attributes[0], name="contrast", role="contrast")
    model = MedDiffusion.outline(replace(manifest, attributes=(age, shown)))
    assert model.classes(torch.tensor([[0.0, 3.0], [2.0, 1.0]])).tolist() == [3, 1]
    assert MedDiffusion.outline(replace(manifest, attributes=(age,))).classes(torch.tensor([[2.0]])).tolist() == [0]


def test_classes_that_are_contrasts_are_made_all_at_once(packs, tmp_path):
    named = {"classes": {"T1w": 0, "T2w": 2, "FLAIR": 3}, "contrasts": True}
    assert command("packs", "import", "heads", *tiny_files(tmp_path / "files", **named)) == 0
    usual = ("generate", "--pack=heads", "--seed=3", "--steps=2", "--device=cpu", "--precision=fp32")
    assert command(*usual, "--attribute=class=all", f"--out={tmp_path / 'all'}") == 0
    assert command(*usual, "--attribute=class=all", "--batch=3", f"--out={tmp_path / 'batch'}") == 0
    made = []
    for name in named["classes"]:
        assert command(*usual, f"--attribute=class={name}", f"--out={tmp_path / name}") == 0
        made.append(read_volume(tmp_path / name / "sample-0.nii.gz").array)
        assert np.array_equal(read_volume(tmp_path / "all" / f"sample-0-{name}.nii.gz").array, made[-1])
        assert np.allclose(read_volume(tmp_path / "batch" / f"sample-0-{name}.nii.gz").array, made[-1], atol=2e-3)
    distances = [float(np.abs(one - other).max()) for one, other in zip(made, [*made[1:], made[0]], strict=True)]
    assert min(distances) > 0.01


def test_another_size_and_spacing_are_made_by_rule(packs, tmp_path, capsys):
    pack = find_pack("tiny-med")
    assert pack.backbone.sizes.multiple == 16 and pack.backbone.sizes.most == 512
    asked = ("--size=48x32x64", "--spacing=1x2x0.5", "--seed=1", "--steps=2", "--device=cpu", "--precision=fp32")
    assert command("generate", "--pack=tiny-med", *asked, f"--out={tmp_path / 'out'}") == 0
    made = read_volume(tmp_path / "out" / "sample-0.nii.gz")
    assert made.grid.shape == (64, 48, 32) and np.allclose(made.grid.spacing, (0.5, 1, 2))
    assert made.grid.orientation == "SLP" and np.allclose(made.grid.centre, (1, -2, 3), atol=1e-4)
    backbone = load_backbone(pack.resized("48x32x64", "1x2x0.5"))
    assert backbone.latent_shape == (3, 16, 12, 8)
    for options, words in (
        (["--size=48x40x64"], "multiples of 16"),
        (["--size=528"], "up to 512"),
        (["--spacing=0.1"], "0.5 to 5 mm"),
        (["--size=12.5"], "three like"),
    ):
        assert command("generate", "--pack=tiny-med", *options, f"--out={tmp_path / 'no'}") == 2
        assert words in capsys.readouterr().err
    assert command("generate", "--size=64", f"--out={tmp_path / 'no'}") == 2
    assert "images of one size" in capsys.readouterr().err


def test_a_size_of_its_own_is_another_model_to_those_who_keep_it_warm(packs):
    from vcm.runs.job import GenerateJob
    from vcm.runs.warm_models import WarmModels

    warm, pack, job = WarmModels(), find_pack("tiny-med"), GenerateJob(out=packs / "out", device="cpu")
    for size, wanted in ((None, (16, 32, 48)), ("32", (32, 32, 32)), ("32", (32, 32, 32)), (None, (16, 32, 48))):
        generator = warm.generator(pack.resized(size, None), None, job, lambda name: None)
        assert generator.backbone.grid.shape == wanted


def test_a_calibration_finds_the_scale_at_which_scans_come_back(packs, tmp_path, monkeypatch, capsys):
    """A stand-in for trained networks: they bring back what lies in −1…0.4, and cut off what is brighter."""
    from vcm.models.backbones.meddiffusion.backbone import MedDiffusion

    assert command("packs", "import", "own-med", *tiny_files(tmp_path / "files")) == 0

    def encode(self, image):
        return image * self.intensity_scale * 2 - 1

    def decode(self, latent, scale_factor=None):
        made = latent.clamp(max=0.4)
        noise = 0.02 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        return (made + noise + 1) / 2 / self.intensity_scale

    monkeypatch.setattr(MedDiffusion, "encode", encode)
    monkeypatch.setattr(MedDiffusion, "decode", decode)
    grid = Grid((40, 30, 20), [[0, 2, 0, 300.0], [-2, 0, 0, -100.0], [0, 0, 2, 40.0], [0, 0, 0, 1]])
    scan = np.full(grid.shape, 90, np.float32)
    scan[5:35, 4:26, 3:17] = 900
    write_volume(tmp_path / "scan.nii.gz", Volume(scan, grid))
    assert command("packs", "calibrate", "own-med", tmp_path / "scan.nii.gz", "--device=cpu") == 0
    assert "intensity scale 0.7" in capsys.readouterr().err
    manifest = find_pack("own-med").backbone
    assert manifest.networks["autoencoder"]["intensity_scale"] == 0.7
    assert "Calibrated on 1 scan(s)" in manifest.description
    assert load_backbone(find_pack("own-med")).intensity_scale == 0.7
    before = find_pack("tiny-med").backbone.files
    assert {r: f.sha256 for r, f in manifest.files.items()} == {r: f.sha256 for r, f in before.items()}
    assert command("packs", "calibrate", "brainldm-mini", tmp_path / "scan.nii.gz") == 2


def test_a_bad_checkpoint_is_refused_with_a_sentence(packs, tmp_path, capsys):
    autoencoder, denoiser = (option.split("=", 1) for option in tiny_files(tmp_path)[1:3])
    swapped = (f"{autoencoder[0]}={denoiser[1]}", f"{denoiser[0]}={autoencoder[1]}")
    assert command("packs", "import", "bad", "--family=meddiffusion", *swapped) == 1
    assert "is no patch-volume autoencoder" in capsys.readouterr().err
    cut = torch.load(denoiser[1], weights_only=False)
    del cut["ema"]["ups.0.0.block1.proj.bias"]
    torch.save(cut, tmp_path / "cut.pt")
    config = f"--config={tmp_path / 'config.json'}"
    rest = ("--family=meddiffusion", "=".join(autoencoder), config)
    assert command("packs", "import", "bad", *rest, f"--denoiser={tmp_path / 'cut.pt'}") == 1
    assert "lacks 1 of" in capsys.readouterr().err
    with pytest.raises(VcmError) as refused:
        find_pack("bad")
    assert refused.value.code is Code.PACK_MISSING


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_shape": [32, 48, 20]}, "no multiples of 16"),
        ({"orientation": "RAR"}, "three letters"),
        ({"spacing": [1, 0, 1]}, "above 0"),
        ({"classes": {"a": 7}}, "from 0 to 3"),
        ({"default_class": "b"}, "none of its classes"),
        ({"denoiser": {"attn_heads": 5}}, "cannot be shared by 5 heads"),
        ({"denoiser": {"heads": 2}}, "heads"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_with_a_sentence(packs, tmp_path, capsys, change, words):
    assert command("packs", "import", "bad", *tiny_files(tmp_path, **change)) == 1
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error


@pytest.fixture(scope="module")
def golden(packs, tmp_path_factory):
    """The reference's checkpoints, imported without a configuration but for the grid."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "config.json").write_text('{"image_shape": [128, 128, 64]}')
    files = write_checkpoints(folder, PatchVolumeAutoencoder(), BiFlowNet(dim=24))
    assert command("packs", "import", "golden-med", *files, f"--config={folder / 'config.json'}") == 0
    return load_backbone(find_pack("golden-med"))


@beside_the_repository
@torch.no_grad()
def test_an_imported_denoiser_gives_the_published_numbers(golden):
    inputs = torch.tensor([[3.0], [5.0]])
    found = golden.predict(noise((2, 8, 8, 16, 16), 9), torch.tensor([999.0, 250.0]), inputs)
    assert relative(found, expected()["flow8-small.prediction"]) < 1e-4


@beside_the_repository
def test_the_process_is_the_published_one(golden):
    assert np.abs(golden.process.alphas_cumprod - expected()["schedule.alphas_cumprod"].numpy()).max() < 1e-7


@beside_the_repository
def test_the_published_ddim_comes_to_the_published_latent(golden):
    """In fp32 no two orders of the same sums agree here to better than 1e-2 of a deviation in the worst voxel: rounding
    grows at the first steps, where the clean latent is fifty times a difference. So the mean difference is held, and
    computed in double precision, as our own fp32 rounding depends on the processor (8e-4 to 1.01e-3 were seen; 7e-4 is
    what the reference's own rounding leaves)."""
    start, attributes = noise((2, 8, 8, 16, 16), 9)[:1].double(), torch.tensor([[3.0]], dtype=torch.float64)
    golden.denoiser.double()
    try:
        found = sample_latents(golden, attributes, start, sampler="ddim-linspace", steps=100)
    finally:
        golden.denoiser.float()
    wanted = expected()["flow8-small.ddim100"]
    difference = (found - wanted).abs() / wanted.std()
    assert float(difference.mean()) < 1e-3 and float(difference.max()) < 2e-2
