"""From a cohort to a pack: measuring adherence, writing the pack, and the commands that do it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from small_cohort import new_network, write_cohort
from typer.testing import CliRunner
from vcm.cli import train as train_cli
from vcm.cohort.learning_cases import CohortCase, condition_specs
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.models.controls.vcm_control import VcmControl
from vcm.models.loading import load_backbone, load_control
from vcm.packs.store import find_pack
from vcm.training.control.run import condition_entries
from vcm.training.control.settings import ControlSettings
from vcm.training.control.validation import ControlValidator
from vcm.training.export.control import write_control_pack
from vcm.training.export.model_card import Provenance, read_figures

PROVENANCE = Provenance(
    command="vcm train control --minutes 5", hardware="a test", minutes=5.4, steps=120, cases=3, data="Painted."
)


class DarkIsVentricle:
    """A segmenter for tests: the darkest tenth is ventricle (4)."""

    name = "the darkest tenth"

    def segment(self, image):
        return Volume((image.array < np.quantile(image.array, 0.1)).astype(np.uint8) * 4, image.grid)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def validator(cases, names=("ventricles",)):
    learned = [CohortCase(case, tiny.GRID) for case in cases[:2]]
    return ControlValidator(tiny.backbone(prediction="v"), DarkIsVentricle(), condition_specs(names), learned, steps=3)


def validated(cases, network, names=("ventricles",)):
    return validator(cases, names).validate(VcmControl(network, condition_specs(names)))


def test_a_control_that_does_nothing_is_measured_as_its_twin(cases):
    for result in validated(cases, new_network()):
        assert np.array_equal(result.sample.array, result.twin.array)
        assert result.figures["controlled"] == result.figures["uncontrolled"]


def test_what_was_asked_for_is_measured_on_the_case(cases):
    for case, result in zip(cases, validated(cases, new_network()), strict=False):
        assert result.asked_ml["ventricles"] == pytest.approx(case.ventricles_ml)
        assert result.got_ml["ventricles"] == pytest.approx(
            np.prod(tiny.GRID.shape) * 0.1 * tiny.GRID.voxel_ml, rel=0.03
        )


def test_a_control_that_does_something_is_measured_from_the_same_noise(cases):
    network = tiny.randomised(new_network())
    first, again = validated(cases, network), validated(cases, network)
    assert not np.array_equal(first[0].sample.array, first[0].twin.array)
    assert np.array_equal(first[0].sample.array, again[0].sample.array)


def test_several_conditions_are_measured_each_in_its_own_way(cases):
    control = tiny.control()
    specs = condition_specs(["ventricles", "skull"])
    learned = [CohortCase(cases[0], tiny.GRID)]
    result = ControlValidator(tiny.backbone(prediction="v"), DarkIsVentricle(), specs, learned, steps=2).validate(
        control
    )[0]
    skull = cases[0].read("skull").array
    there = skull > 0
    expected = np.square(result.sample.array[there] - skull[there]).mean()
    assert result.figures["skull_mse_controlled"] == pytest.approx(expected, rel=1e-4)
    assert 0 <= result.figures["controlled"] <= 1
    assert set(result.figures) == {
        *("controlled", "uncontrolled", "reconstructed"),
        *(f"skull_mse_{way}" for way in ("controlled", "uncontrolled", "reconstructed")),
    }


def test_a_network_that_makes_no_numbers_is_measured_as_a_poor_one(cases):
    network = tiny.randomised(new_network())
    with torch.no_grad():
        next(network.parameters()).fill_(torch.nan)
    for result in validated(cases, network):
        assert np.isnan(result.sample.array).any() and result.figures["controlled"] < 0.5


def test_the_manifest_tells_the_volumes_and_the_place_seen_in_training(cases, tmp_path):
    from small_cohort import write_latents

    cache = write_latents(tiny.backbone(), cases, tmp_path, ("ventricles", "skull", "semantics"))
    entry, skull, semantics = condition_entries(cache.specs, cache, tiny.GRID)
    (structure,) = entry["classes"]
    volumes = [case.ventricles_ml for case in cases]
    low, high = structure["typical_ml"]
    assert min(volumes) <= low < high <= max(volumes) + 0.05
    # The block of every case: i 5 to 5.5…6.5, j 6–10, k 9–16.
    expected = tiny.GRID.to_world((np.mean([5.5, 6, 6.5]), 8, 12.5))
    assert structure["centroid_mm"] == pytest.approx(expected.tolist(), abs=0.06)
    assert structure["segmenter"] == [4]
    assert skull["kind"] == "image" and "classes" not in skull
    assert len(semantics["classes"]) == 8
    assert [c["value"] for c in semantics["classes"] if "typical_ml" in c] == [1, 4, 7]


def test_a_pack_is_written_that_can_be_loaded_and_tells_its_worth(cases, packs, tmp_path):
    from small_cohort import write_latents
    from vcm.training.control.run import new_control

    backbone = find_pack("tiny")
    names = ("ventricles", "skull", "semantics")
    settings = ControlSettings(backbone="tiny", conditions=names, dropout="paper")
    cache = write_latents(tiny.backbone(), cases, tmp_path, names)
    torch.manual_seed(0)
    network = tiny.randomised(new_control(settings, backbone.backbone, cache.specs).network)
    entries = condition_entries(cache.specs, cache, tiny.GRID)
    folder = packs / "tiny-three"
    write_control_pack(folder, network.state_dict(), backbone, settings, entries, PROVENANCE, "| Dice | 0.8 |")

    loaded = load_control(find_pack("tiny-three"))
    shipped = loaded.network.state_dict()
    folded = {name for name in network.state_dict() if name.startswith("typical_") or name.endswith(".place")}
    for name, tensor in network.state_dict().items():
        assert name in folded or torch.equal(shipped[name], tensor.half().float()), name
    assert not [name for name in shipped if name.startswith("typical_")]
    given = {
        name: torch.rand(1, width, *tiny.GRID.shape)
        for name, width in ((spec.name, spec.channels) for spec in cache.specs)
    }
    assert loaded.latent_conditions == ("skull",)
    given["skull"] = torch.randn(1, *tiny.LATENT)
    with torch.no_grad():
        before, after = network.encode(given), loaded.network.encode(given)
    assert all(torch.allclose(before[name], after[name], atol=0.02 * float(before[name].std())) for name in names)
    assert find_pack("tiny-three").control.subsets
    card = (folder / "README.md").read_text()
    for fact in (
        "| Dice | 0.8 |",
        "vcm train control --minutes 5",
        "a test",
        "Painted.",
        "`skull` | an image",
        "a label map",
    ):
        assert fact in card
    assert "synthetic" in card and "research only" in card and "Any part of them may be given" in card
    assert json.loads((folder / "training.json").read_text())["backbone"] == "tiny"


@pytest.mark.parametrize("licence", ["", "CC-BY-4.0", "Apache-2.0"])
def test_a_pack_is_under_the_licence_its_makers_name_and_under_none_where_they_name_none(
    cases, packs, tmp_path, licence
):
    from small_cohort import write_latents
    from vcm.training.control.run import new_control

    backbone, settings = find_pack("tiny"), ControlSettings(backbone="tiny")
    cache = write_latents(tiny.backbone(), cases, tmp_path)
    network = new_control(settings, backbone.backbone, cache.specs).network
    entries = condition_entries(cache.specs, cache, tiny.GRID)
    provenance = replace(PROVENANCE, licence=licence)
    manifest = write_control_pack(
        packs / "tiny-own", network.state_dict(), backbone, settings, entries, provenance, "not measured"
    )
    assert manifest.licence.name == (licence or "not stated")
    assert PROVENANCE.data in manifest.licence.note
    assert ("Ask its makers" in manifest.licence.note) is not bool(licence)
    assert bool(manifest.licence.url) is (licence == "Apache-2.0")
    assert f"Licence of the pack: {licence or 'not stated'}." in (packs / "tiny-own" / "README.md").read_text()


def test_the_card_takes_the_figures_of_an_evaluation_before_those_of_the_training(tmp_path):
    (tmp_path / "summary.md").write_text("| Dice | 0.81 (0.78–0.84) |\n")
    validated = {"step": 100, "cases": 4, "controlled": 0.7}
    assert read_figures(tmp_path / "summary.md", validated) == "| Dice | 0.81 (0.78–0.84) |"
    assert "| controlled | 0.700 |" in read_figures(None, validated)
    assert "vcm evaluate" in read_figures(None, None)


def run(*arguments):
    ended = CliRunner().invoke(train_cli.app, [str(a) for a in arguments])
    if isinstance(ended.exception, VcmError):
        raise ended.exception
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return ended.output


def test_the_commands_train_continue_and_export_a_control(cases, packs, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text(
        'backbone = "tiny"\nsteps = 4\nbatch = 2\nprecision = "fp32"\nlog_every = 1\nsampling_steps = 2\n'
        'conditions = ["ventricles", "skull"]\ndropout = "paper"\n'
    )
    cohort, folder, pack = cases[0].folder.parents[1], tmp_path / "run", packs / "tiny-mine"
    shared = ["--cases", cohort, "--held-out", cohort, "--held-out-cases", 2, "--device", "cpu"]
    begun = run("control", "--config", config, "--out", folder, *shared)
    assert "step 4 of 4" in begun and "The training is complete" in begun and "skull_mse_controlled" in begun
    assert (folder / "validated-000004.png").is_file() and list((folder / "tensorboard").iterdir())
    more = run("control", "--steps", 6, "--out", folder, *shared)
    assert "resuming from step 4" in more and "step 6 of 6" in more
    run("export", "--run", folder, "--out", pack, "--data", "blocks.")
    control = find_pack("tiny-mine").control
    assert [spec.name for spec in control.conditions] == ["ventricles", "skull"] and control.subsets
    load_control(find_pack("tiny-mine"))
    run("export", "--run", folder, "--out", pack, "--data", "blocks again.")
    assert "blocks again." in (pack / "README.md").read_text()
    before = {path: path.read_bytes() for path in cohort.iterdir() if path.is_file()}
    with pytest.raises(VcmError, match="holds something that is no pack"):
        run("export", "--run", folder, "--out", cohort)
    assert before == {path: path.read_bytes() for path in cohort.iterdir() if path.is_file()}


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("{foo = 3}", "variant small has no part foo"),
        ("{width = 7}", "No network can be made so: num_channels .7. must be divisible"),
        ('{width = "wide"}', "No network can be made so"),
    ],
)
def test_a_network_that_cannot_be_is_refused_in_a_sentence(cases, packs, tmp_path, network, words):
    (tmp_path / "a.toml").write_text(f'backbone = "tiny"\nsteps = 2\nnetwork = {network}\n')
    cohort = cases[0].folder.parents[1]
    with pytest.raises(VcmError, match=words):
        run("control", "--config", tmp_path / "a.toml", "--cases", cohort, "--out", tmp_path / "run", "--device", "cpu")


def test_a_training_can_begin_with_what_another_one_learned(cases, packs, tmp_path):
    config, cohort = tmp_path / "settings.toml", cases[0].folder.parents[1]
    first, second, without = (tmp_path / name for name in ("first", "second", "without"))

    def averaged(folder, *options, seed, rate, steps=1):
        config.write_text(
            f'backbone = "tiny"\nprecision = "fp32"\nseed = {seed}\nlearning_rate = {rate}\nsteps = {steps}\n'
        )
        told = run("control", "--config", config, "--cases", cohort, "--device", "cpu", "--out", folder, *options)
        state = torch.load(folder / "checkpoint.pt", weights_only=True)["average"]
        return torch.cat([weight.flatten() for weight in state.values()]), told

    learned, _ = averaged(first, seed=1, rate=1e-2, steps=5)
    taken, _ = averaged(second, "--start", first, seed=7, rate=1e-9)
    untaught, _ = averaged(without, seed=7, rate=1e-9)
    assert torch.allclose(taken, learned, atol=1e-6) and not torch.allclose(untaught, learned, atol=1e-2)
    # Taken up again, it goes on with its own.
    _, told = averaged(second, "--start", first, seed=7, rate=1e-9, steps=2)
    assert "resuming from step 1" in told


def test_a_training_can_begin_with_the_control_of_a_pack(cases, packs, tmp_path):
    """The pack's weights are folded and rounded; the network that learns from them has a mean mask again."""
    cohort = cases[0].folder.parents[1]
    usual = 'backbone = "tiny"\nprecision = "fp32"\n'
    (tmp_path / "first.toml").write_text(usual + "seed = 1\nlearning_rate = 1e-2\nsteps = 5\n")
    (tmp_path / "second.toml").write_text(usual + 'seed = 7\nlearning_rate = 1e-9\nsteps = 1\nstart = "learned"\n')

    def trained(name, *options):
        out = tmp_path / name
        run(
            "control",
            "--config",
            tmp_path / f"{name}.toml",
            "--cases",
            cohort,
            "--device",
            "cpu",
            "--out",
            out,
            *options,
        )
        return torch.load(out / "checkpoint.pt", weights_only=True)["average"]

    learned = trained("first")
    run("export", "--run", tmp_path / "first", "--out", packs / "learned")
    taken = trained("second")
    assert taken.keys() == learned.keys() and any(name.startswith("typical_") for name in taken)
    for name, tensor in taken.items():
        assert torch.allclose(tensor, learned[name], rtol=2e-3, atol=2e-3), name
    with pytest.raises(VcmError, match="The control learned is of a different network"):
        run(
            "control", "--config", tmp_path / "second.toml", "--cases", cohort, "--conditions", "brain",
            "--out", tmp_path / "third",
        )  # fmt: skip


def test_it_cannot_begin_with_another_network_s_weights_or_with_none(cases, packs, tmp_path):
    config, cohort = tmp_path / "settings.toml", cases[0].folder.parents[1]
    config.write_text('backbone = "tiny"\nprecision = "fp32"\nsteps = 1\n')
    shared = ["control", "--config", config, "--cases", cohort, "--device", "cpu", "--out"]
    run(*shared, tmp_path / "first")
    with pytest.raises(VcmError, match="is of a different network") as caught:
        run(*shared, tmp_path / "second", "--conditions", "brain", "--start", tmp_path / "first")
    assert "same conditions" in str(caught.value)
    with pytest.raises(VcmError, match="no checkpoint"):
        run(*shared, tmp_path / "second", "--start", tmp_path / "nowhere")


def test_a_denoiser_is_continued_and_exported_with_the_same_latents(cases, packs, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text('backbone = "tiny"\nsteps = 3\nbatch = 2\nprecision = "fp32"\nsampling_steps = 2\n')
    cohort, folder = cases[0].folder.parents[1], tmp_path / "run"
    shared = ["--cases", cohort, "--held-out", cohort, "--held-out-cases", 2, "--device", "cpu"]
    assert "v_error" in run("denoiser", "--config", config, "--out", folder, *shared)
    run("export", "--run", folder, "--out", packs / "tiny-more")
    old, new = load_backbone(find_pack("tiny")), load_backbone(find_pack("tiny-more"))
    assert not any(
        torch.equal(a, b)
        for a, b in zip(old.denoiser.parameters(), new.denoiser.parameters(), strict=True)
        if a.dim() > 1
    )
    image = torch.from_numpy(cases[0].read("image").array)[None, None]
    with torch.no_grad():
        assert torch.equal(old.encode(image), new.encode(image))


def test_a_denoiser_from_scratch_whitens_packs_and_sees_the_atlas(cases, packs, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text(
        'backbone = "tiny"\nscratch = true\npacking = 2\nprediction = "v"\nlast = 40\nsteps = 80\n'
        'batch = 4\nprecision = "fp32"\n'
        "learning_rate = 5e-3\nwarmup = 3\nlog_every = 20\nema = 0.5\n"
        "network = { channels = [8], num_res_blocks = [1], attention_levels = [true], num_head_channels = [8] }\n"
    )
    cohort, folder = cases[0].folder.parents[1], tmp_path / "run"
    run("denoiser", "--config", config, "--out", folder, "--cases", cohort, "--device", "cpu")
    rows = (folder / "log.csv").read_text().splitlines()[1:]
    assert float(rows[-1].split(",")[3]) < 0.9 * float(rows[0].split(",")[3])
    run("export", "--run", folder, "--out", packs / "tiny-fresh")
    manifest = find_pack("tiny-fresh").backbone
    assert (manifest.latent.packing, manifest.latent.whitened, manifest.latent.atlas) == (2, True, True)
    assert manifest.process.prediction == "v"
    assert (find_pack("tiny").backbone.process.last, manifest.process.last) == (0, 40)
    assert manifest.process.time_at(0.0) == 40  # where training draws its first time and sampling ends
    fresh = load_backbone(find_pack("tiny-fresh"))
    images = torch.stack([torch.from_numpy(case.read("image").array) for case in cases])[:, None]
    with torch.no_grad():
        latents = torch.cat([fresh.encode(images), fresh.encode(images.flip(2))])
    assert latents.mean(0).abs().mean() < 0.06 and latents.std(0).mean().item() == pytest.approx(1, abs=0.1)


def test_a_pack_gets_the_atlas_without_changing_what_its_denoiser_says(cases, packs, tmp_path):
    from vcm.training.backbone.denoiser_run import open_denoiser_run
    from vcm.training.backbone.denoiser_settings import DenoiserSettings
    from vcm.training.trainer.team import Team

    cohort = cases[0].folder.parents[1]
    learned = [CohortCase(case, tiny.GRID) for case in cases]
    scratch = 'backbone = "tiny"\nscratch = true\natlas = false\nsteps = 1\nbatch = 2\nprecision = "fp32"\n'
    (tmp_path / "a.toml").write_text(scratch)
    run("denoiser", "--config", tmp_path / "a.toml", "--out", tmp_path / "run", "--cases", cohort, "--device", "cpu")
    run("export", "--run", tmp_path / "run", "--out", packs / "plain")
    plain = load_backbone(find_pack("plain"))
    settings = DenoiserSettings(backbone="plain", steps=2, batch=2, precision="fp32")
    again = open_denoiser_run(settings, learned, tmp_path / "more", latents=tmp_path / "l", team=Team("cpu"))
    shown = again.task.backbone
    assert not plain.atlas.shape[1] and shown.atlas.shape[1]
    latent, t, attributes = torch.randn(1, *tiny.LATENT), torch.tensor([400.0]), torch.rand(1, 4)
    with torch.no_grad():
        assert torch.allclose(plain.predict(latent, t, attributes), shown.predict(latent, t, attributes), atol=1e-5)


def test_a_packing_that_does_not_divide_the_latent_is_refused(cases, packs, tmp_path):
    from vcm.training.backbone.denoiser_run import open_denoiser_run
    from vcm.training.backbone.denoiser_settings import DenoiserSettings
    from vcm.training.trainer.team import Team

    learned = [CohortCase(case, tiny.GRID) for case in cases]
    settings = DenoiserSettings(backbone="tiny", scratch=True, packing=4)
    with pytest.raises(VcmError, match=r"packing 4 .* sizes divide"):
        open_denoiser_run(settings, learned, tmp_path / "run", latents=tmp_path / "l", team=Team("cpu"))


def test_emphasis_weighs_the_places_where_a_structure_usually_lies_and_is_the_same_for_all(cases, packs, tmp_path):
    from vcm.training.backbone.denoiser_run import open_denoiser_run
    from vcm.training.backbone.denoiser_settings import DenoiserSettings
    from vcm.training.trainer.team import Team

    learned = [CohortCase(case, tiny.GRID) for case in cases]
    settings = DenoiserSettings(backbone="tiny", emphasis={"ventricles": 5.0}, precision="fp32")
    place = open_denoiser_run(settings, learned, tmp_path / "run", latents=tmp_path / "l", team=Team("cpu")).task.place
    assert place.shape == (1, 1, *tiny.LATENT[1:]) and place.mean().item() == pytest.approx(1, abs=1e-5)
    # The ventricles are voxels 5–8, 6–10, 9–16 of 16×24×32: the latent's places 1–2, 1–2, 2–4, and those next to them.
    far = place[0, 0, :, 5, 7]
    assert torch.equal(far, far[:1].expand(4))
    assert (place[0, 0, 1:3, 1:3, 2:4] > 2 * far[0]).all()
    assert torch.equal(place, place.flip(2))


def test_emphasis_on_what_no_case_holds_is_refused():
    from vcm.training.backbone.denoiser_settings import DenoiserSettings

    with pytest.raises(VcmError, match="emphasis must be a number from 0 for some of"):
        DenoiserSettings(emphasis={"tumour": 3.0})
