"""Trainings that are stored in 8 bits per channel, and trainings that begin with such a pack."""

import pytest
import tiny
import torch
from small_cohort import write_cohort
from typer.testing import CliRunner
from vcm.cli import train as train_cli
from vcm.core.errors import VcmError
from vcm.packs.store import controls_for, find_pack, open_weights
from vcm.packs.tensors.checkpoints import read_checkpoint
from vcm.training.export.export import export_run
from vcm.training.trainer.checkpoint import load_last


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A packs' folder and a cohort; the denoiser of the pack `tiny` was trained a little and exported in 8 bits."""
    folder = tmp_path_factory.mktemp("eight")
    tiny.write_packs(folder / "packs")
    cohort = write_cohort(folder / "cohort")[0].folder.parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(folder / "packs"))
        train("denoiser", folder / "run", cohort, backbone="tiny")
        said = run("export", "--run", folder / "run", "--out", folder / "packs" / "eight", "--bits", 8)
        assert "tensors in 8 bits per channel; largest relative error" in said
        yield folder


def run(*arguments) -> str:
    result = CliRunner().invoke(train_cli.app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def train(kind, out, cohort, backbone, more="") -> str:
    config = out.with_suffix(".toml")
    config.write_text(f'backbone = "{backbone}"\nsteps = 2\nbatch = 2\nprecision = "fp32"\n{more}')
    return run(kind, "--config", config, "--out", out, "--cases", cohort, "--device", "cpu")


def test_what_was_trained_is_in_8_bits_and_the_rest_as_it_was(trained):
    old, new = find_pack("tiny"), find_pack("eight")
    assert (new.folder / "autoencoder.safetensors").read_bytes() == (
        old.folder / "autoencoder.safetensors"
    ).read_bytes()
    assert [role for role, file in new.manifest.files.items() if file.eight_bits] == ["denoiser"]
    learned, stored = load_last(trained / "run", print, lambda state: None)["average"], open_weights(new, "denoiser")
    # By half a step of 8 bits, after a rounding to fp16.
    for name, tensor in learned.items():
        assert torch.allclose(stored[name].float(), tensor.cpu(), atol=float(tensor.abs().max()) * (1 / 254 + 2**-11))
    assert "8 bits per channel" in (new.folder / "README.md").read_text()
    assert torch.equal(
        read_checkpoint(new.folder / "denoiser.safetensors")["conv_in.conv.weight"], stored["conv_in.conv.weight"]
    )


def test_a_training_says_that_it_begins_with_weights_in_8_bits(trained, tmp_path):
    cohort = trained / "cohort"
    said = train("denoiser", tmp_path / "more", cohort, backbone="eight")
    assert "The pack eight has weights in 8 bits per channel: denoiser." in said
    assert "8 bits" not in train("denoiser", tmp_path / "other", cohort, backbone="tiny")
    run("export", "--run", tmp_path / "more", "--out", trained / "packs" / "sixteen")
    assert not find_pack("sixteen").manifest.files["denoiser"].eight_bits


def test_a_control_is_trained_on_a_backbone_in_8_bits_and_stored_so_too(trained, tmp_path):
    said = train(
        "control", tmp_path / "run", trained / "cohort", backbone="eight", more='conditions = ["ventricles"]\n'
    )
    assert "The pack eight has weights in 8 bits per channel: denoiser." in said
    run("export", "--run", tmp_path / "run", "--out", trained / "packs" / "eight-ventricles", "--bits", 8)
    control = find_pack("eight-ventricles")
    assert control.manifest.files["control"].eight_bits
    assert control.name in [found.name for found in controls_for(find_pack("eight"))]


def test_files_that_are_copied_keep_what_they_were_rounded_from(trained, tmp_path):
    network = "network = { channels = [4, 8, 8], strides = [2, 2], num_res_units = 1 }\n"
    train("segmenter", tmp_path / "run", trained / "cohort", backbone="eight", more=network)
    export_run(tmp_path / "run", trained / "packs" / "judged")
    assert find_pack("judged").manifest.files["denoiser"] == find_pack("eight").manifest.files["denoiser"]
    assert not find_pack("judged").manifest.files["segmenter"].eight_bits


def test_other_numbers_of_bits_are_refused_before_anything_is_written(trained, tmp_path):
    with pytest.raises(VcmError, match="8 or 16 bits, not in 4"):
        export_run(trained / "run", tmp_path / "out", bits=4)
    assert not (tmp_path / "out").exists()
