"""Packs that were damaged or made to do harm: each is refused in a sentence and never used."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
from command_line import vcm
from faults import RUN, names, told, untouched, without_its_end, write_bomb
from vcm.packs.manifest_reading import write_manifest


@pytest.mark.parametrize(
    ("name", "how"), [("model.pt", "torch"), ("model.pth", "pickle"), ("model.safetensors", "pickle")]
)
def test_a_checkpoint_with_code_in_it_is_refused_and_the_code_never_runs(tmp_path, monkeypatch, name, how):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    write_bomb(tmp_path / name, tmp_path / "trace", how)
    with untouched(tmp_path):
        given = ("--autoencoder", tmp_path / name, "--denoiser", tmp_path / name)
        told(vcm("packs", "import", "evil", *given), str(tmp_path / name))


def change_a_byte(pack):
    data = bytearray((pack / "denoiser.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (pack / "denoiser.safetensors").write_bytes(data)


def consistent(pack, name, data):
    """Another content of a file of the pack, with the manifest made to agree with it."""
    (pack / name).write_bytes(data)
    write_manifest(pack, json.loads((pack / "manifest.json").read_text()))


def edit_manifest(pack, *keys, value):
    content = json.loads((pack / "manifest.json").read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    (pack / "manifest.json").write_text(json.dumps(content))


DAMAGE = {
    "a changed byte": (change_a_byte, ["denoiser.safetensors", "was changed", "SHA-256"]),
    "a cut file": (
        lambda pack: without_its_end(pack / "autoencoder.safetensors"),
        ["autoencoder", "bytes"],
    ),
    "a lost file": (lambda pack: (pack / "denoiser.safetensors").unlink(), ["denoiser.safetensors", "missing"]),
    "no safetensors": (
        lambda pack: consistent(pack, "denoiser.safetensors", pickle.dumps({"a": 1})),
        ["denoiser", "cannot be built", "21 bytes"],
    ),
    "others' weights": (
        lambda pack: consistent(pack, "denoiser.safetensors", (pack / "autoencoder.safetensors").read_bytes()),
        ["tiny", "denoiser", "cannot be built"],
    ),
    "no manifest": (lambda pack: (pack / "manifest.json").unlink(), ["tiny"]),
    "garbage": (lambda pack: (pack / "manifest.json").write_bytes(b"\xff\xfe{"), ["manifest.json"]),
    "half a manifest": (lambda pack: without_its_end(pack / "manifest.json"), ["manifest.json", "not valid JSON"]),
    "a wrong type": (
        lambda pack: edit_manifest(pack, "latent", "shape", value="big"),
        ["manifest.json", "latent.shape"],
    ),
    "an odd latent": (
        lambda pack: edit_manifest(pack, "latent", "shape", value=[3, 5, 6, 8]),
        ["manifest.json", "multiple"],
    ),
    "another latent": (lambda pack: edit_manifest(pack, "latent", "shape", value=[4, 4, 6, 8]), ["tiny"]),
    "a coarser latent": (lambda pack: edit_manifest(pack, "latent", "shape", value=[3, 2, 3, 4]), ["tiny"]),
    "an unknown option": (
        lambda pack: edit_manifest(pack, "networks", "denoiser", "colour", value=1),
        ["tiny", "denoiser", "cannot be built"],
    ),
    "a senseless option": (
        lambda pack: edit_manifest(pack, "networks", "autoencoder", "channels", value=[4, "x"]),
        ["tiny", "networks.autoencoder.channels[1]", "must be a whole number"],
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_pack_is_named_and_never_used(tmp_path, tiny_packs, monkeypatch, kind):
    shutil.copytree(tiny_packs, tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    damage, words = DAMAGE[kind]
    damage(tmp_path / "packs" / "tiny")
    with untouched(tmp_path / "packs"):
        told(vcm(*RUN, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []
