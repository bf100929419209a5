"""`vcm packs`, as a person and as a script meet it."""

from __future__ import annotations

import json

import pytest
from sample_packs import CONFIG, denoiser_sha256, make_backbone, make_checkpoints, make_control
from typer.testing import CliRunner
from vcm.cli import packs as commands
from vcm.core.errors import Code, VcmError
from vcm.packs.store import default_backbone


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    (folder / "small.json").write_text(json.dumps(CONFIG))
    return {**make_checkpoints(folder), "config": folder / "small.json"}


def run(*arguments, answers=None):
    """Run a command; an error that would become a sentence is raised."""
    result = CliRunner().invoke(commands.app, [str(argument) for argument in arguments], input=answers)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def refusal(*arguments, answers=None):
    with pytest.raises(VcmError) as caught:
        run(*arguments, answers=answers)
    return caught.value


def test_the_list_tells_what_is_installed_broken_untrained_and_to_be_had(home):
    folder = make_backbone(home)
    make_control(home, denoiser_sha256(folder))
    make_backbone(home, "cut").joinpath("denoiser.safetensors").unlink()
    text = " ".join(run("list").stdout.split())  # a long path of the folder wraps it
    assert "comes with the program" in text
    assert "NOT TRAINED: denoiser" in text
    assert "unusable: " in text
    assert "is missing" in text
    assert "vcm packs get brainldm" in text
    assert "vcm packs get vcm-semantics --from FILE" in text
    assert str(home) in text


def test_the_list_for_machines_is_json_and_nothing_else(home):
    make_control(home, denoiser_sha256(make_backbone(home)))
    make_backbone(home, "cut").joinpath("denoiser.safetensors").unlink()
    content = json.loads(run("list", "--json").stdout)
    packs = {pack["name"]: pack for pack in content["packs"]}
    assert packs[default_backbone()]["embedded"]
    assert packs["tiny"]["untrained"] == ["denoiser"]
    assert packs["tiny-ventricles"]["backbone"] == "tiny"
    assert packs["cut"]["problem"]["code"] == "PACK_DAMAGED"
    assert [entry["name"] for entry in content["available"]] == ["brainldm", "vcm-semantics", "mr-brain"]


def test_info_tells_grid_attributes_controls_and_licence(home):
    make_control(home, denoiser_sha256(make_backbone(home)))
    text = run("info", "tiny").stdout
    for words in ("16 × 24 × 32 voxels, LAS", "2 × 2 × 2 mm", "age (44 to 82 years)", "tiny-ventricles", "Apache-2.0"):
        assert words in text
    assert "ventricles (mask: 1 ventricles)" in run("info", "tiny-ventricles").stdout
    assert json.loads(run("info", "tiny", "--json").stdout)["manifest"]["schedule"]["timesteps"] == 900


def test_info_of_a_pack_that_is_not_installed_tells_the_terms():
    text = run("info", "vcm-semantics").stdout
    assert "without a licence" in text
    assert refusal("info", "brainldn").code is Code.PACK_MISSING


def test_words_of_a_pack_are_never_taken_for_markup(home):
    make_backbone(home, title="[red]A[/red] [/bold]")
    assert "[red]A[/red] [/bold]" in run("info", "tiny").stdout


def test_verify_reads_every_byte_and_names_the_changed_file(home):
    folder = make_backbone(home)
    assert "whole" in run("verify", "tiny").stdout
    content = bytearray((folder / "autoencoder.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "autoencoder.safetensors").write_bytes(content)
    error = refusal("verify")
    assert error.code is Code.PACK_DAMAGED
    assert "autoencoder.safetensors" in error.sentence
    result = run("verify", "tiny", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["packs"][0]["problem"]["code"] == "PACK_DAMAGED"


def test_import_makes_backbone_and_control(published):
    options = [part for role, path in published.items() for part in (f"--{role}", path)]
    result = run("import", "small", *options)
    assert "Installed small in" in result.stderr
    assert result.stdout == ""
    names = [pack["name"] for pack in json.loads(run("list", "--json").stdout)["packs"]]
    assert {"small", "small-tissue-skull"} <= set(names)


def test_import_of_a_control_alone_needs_its_backbone(published):
    run(
        "import", "small", "--autoencoder", published["autoencoder"],
        "--denoiser", published["denoiser"], "--config", published["config"],
    )  # fmt: skip
    run("import", "mine", "--control", published["control"], "--backbone", "small", "--config", published["config"])
    assert "mine" in run("info", "small").stdout


@pytest.mark.parametrize("given", [[], ["autoencoder"], ["control"], ["denoiser", "control"]])
def test_half_an_import_is_a_bad_request(published, given):
    options = [part for role in given for part in (f"--{role}", published[role])]
    assert refusal("import", "small", *options).code is Code.BAD_REQUEST


def test_a_wrong_configuration_file_is_named(published, tmp_path):
    (tmp_path / "bad.json").write_text('{"latent_shape": [4, 6]}')
    error = refusal(
        "import", "small", "--autoencoder", published["autoencoder"],
        "--denoiser", published["denoiser"], "--config", tmp_path / "bad.json",
    )  # fmt: skip
    assert "bad.json" in error.sentence
    assert "latent_shape" in error.sentence


def test_get_in_a_script_needs_the_licence_said_aloud():
    assert refusal("get", "brainldm").code is Code.LICENCE


def test_get_asks_a_person_and_takes_no_for_an_answer(monkeypatch):
    monkeypatch.setattr(commands, "_interactive", lambda: True)
    error = refusal("get", "brainldm", answers="n\n")
    assert error.code is Code.LICENCE


def test_get_shows_the_terms_before_it_asks(monkeypatch, tmp_path):
    monkeypatch.setattr(commands, "_interactive", lambda: True)
    with pytest.raises(VcmError, match=r"has no autoencoder\.pt"):
        run("get", "brainldm", "--from", tmp_path, answers="y\n")
    monkeypatch.setattr("vcm.packs.acquiring.acquire", lambda *_, **__: [])
    result = run("get", "brainldm", "--from", tmp_path, answers="y\n")
    assert "Apache-2.0" in result.stderr
    assert "Do you accept this?" in result.stderr


def test_remove_deletes_and_asks_only_where_somebody_sits(home, monkeypatch):
    make_backbone(home)
    make_backbone(home, "other")
    run("remove", "tiny")
    assert not (home / "tiny").exists()
    monkeypatch.setattr(commands, "_interactive", lambda: True)
    assert run("remove", "other", answers="n\n").exit_code == 1
    assert (home / "other").exists()
    run("remove", "other", "--yes")
    assert not (home / "other").exists()


def test_every_command_shows_an_example():
    for command in ("list", "info", "verify", "import", "get", "remove"):
        assert f"Example: vcm packs {command}" in " ".join(run(command, "--help").stdout.split())
