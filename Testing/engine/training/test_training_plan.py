"""What a training will need, said beforehand."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from small_cohort import write_cohort
from typer.testing import CliRunner
from vcm.cli import train as train_cli
from vcm.cohort.learning_cases import condition_specs
from vcm.conditions.attributes import AttributeSpec
from vcm.models.backbones.published import core_config
from vcm.models.process import VariancePreserving
from vcm.packs.manifest import LatentSpec
from vcm.packs.published_config import read_config
from vcm.packs.store import find_pack
from vcm.training.control.settings import ControlSettings
from vcm.training.plan import CARD, _advice, estimate


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))


def full_size():
    config = read_config()
    return SimpleNamespace(
        name="brainldm", grid=config.grid, latent=LatentSpec((3, *config.latent_shape), 1.0),
        family="latent-diffusion",
        process=VariancePreserving(**config.schedule),
        attributes=tuple(map(AttributeSpec.from_dict, config.attributes)),
        networks={"autoencoder": core_config(config.networks["autoencoder"]),
                  "denoiser": core_config(config.networks["diffusion"])},
    )  # fmt: skip


def test_a_full_size_control_of_three_conditions_fits_into_24_gb_with_the_paper_s_batch():
    names = ("brain", "ventricles", "skull")
    settings = ControlSettings(
        conditions=names, variant="paper", batch=16, micro_batch=1, recompute=True, dropout="paper"
    )
    needs = estimate(full_size(), settings, condition_specs(names))
    assert 8e9 < needs.memory(1, True) < CARD
    assert needs.memory(1, False) > CARD  # three encoders at once are too much: this is what recompute is for
    assert needs.memory(16, True) > CARD
    assert "micro_batch = 2 and recompute = true" in _advice(needs, ControlSettings(batch=16), CARD, 16)[0]


def test_what_autograd_keeps_is_counted_once_and_grows_with_the_condition(packs):
    manifest = find_pack("tiny").backbone
    one = estimate(manifest, ControlSettings(backbone="tiny"), condition_specs(["ventricles"]))
    names = ("ventricles", "skull")
    two = estimate(manifest, ControlSettings(backbone="tiny", conditions=names), condition_specs(names))
    assert two.kept > one.kept and two.operations > one.operations
    # The image in bytes, and its latent and that of its mirror image in fp16.
    assert two.case_bytes - one.case_bytes == 16 * 24 * 32 + 2 * 2 * 3 * 4 * 6 * 8
    assert one.memory(4, False) > one.memory(1, False)
    assert one.frozen_operations == two.frozen_operations > 0


def test_the_memory_counted_is_the_memory_taken(packs):
    """Against the tensors that a real forward pass keeps alive."""
    from vcm.training.control.run import new_control

    manifest, specs, settings = (
        find_pack("tiny").backbone,
        condition_specs(["ventricles"]),
        ControlSettings(backbone="tiny"),
    )
    network = new_control(settings, manifest, specs).network
    kept = {}

    def take(tensor):
        kept[tensor.untyped_storage().data_ptr()] = (tensor, tensor.untyped_storage().nbytes())
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    latent, t = torch.rand(1, *tiny.LATENT), torch.tensor([5.0])
    with torch.autograd.graph.saved_tensors_hooks(take, lambda tensor: tensor):
        encoded = network.encode({"ventricles": torch.rand(1, 1, *tiny.GRID.shape)}, t=t)
        network.modulation(latent, latent, t, encoded)
    real = sum(size for pointer, (_, size) in kept.items() if pointer not in weights)
    assert estimate(manifest, settings, specs).kept == pytest.approx(real, rel=0.1)


def test_the_command_says_memory_disk_and_time_and_trains_nothing(packs, tmp_path):
    write_cohort(tmp_path / "cohort")
    (tmp_path / "s.toml").write_text('backbone = "tiny"\nsteps = 200\nbatch = 2\n')
    arguments = ["control", "--plan", "--config", str(tmp_path / "s.toml"), "--cases", str(tmp_path / "cohort")]
    ended = CliRunner().invoke(train_cli.app, [*arguments, "--out", str(tmp_path / "run"), "--device", "cpu"])
    assert ended.exit_code == 0, ended.output
    for words in ("Memory: about", "Disk: ", "of 3 cases", "Time: about", "200 steps of batch 2", "timed just now"):
        assert words in ended.output
    assert not (tmp_path / "run").exists() and not (tmp_path / "cohort" / "latents").exists()
