"""Which packs are found, and how their weights are guarded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from sample_packs import denoiser_sha256, make_backbone, make_control
from vcm.core.errors import Code, VcmError
from vcm.packs import store
from vcm.packs.store import controls_for, default_backbone, find_pack, list_packs, open_weights, packs_folder, verify


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def named(name):
    return next(entry for entry in list_packs() if entry.name == name)


def flip_byte(path, position=-2):
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    return status


def test_the_environment_moves_the_packs_folder(home, monkeypatch):
    assert packs_folder() == home
    monkeypatch.setenv("VCM_PACKS", "~/elsewhere")
    assert packs_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("VCM_PACKS")
    assert packs_folder().parts[-2:] == ("vcm-slicer", "packs")


def test_the_default_is_found_without_any_packs_folder(home):
    assert not home.exists()
    pack = find_pack(default_backbone())
    assert pack.embedded
    assert pack.backbone.grid.orientation == "LAS"
    assert not home.exists()


def test_a_pack_is_found_by_name_and_by_path(home, tmp_path):
    make_backbone(home)
    elsewhere = make_backbone(tmp_path / "usb stick", "other")
    assert find_pack("tiny").folder == home / "tiny"
    assert find_pack(elsewhere).name == "other"
    assert find_pack(f"{elsewhere}{os.sep}").name == "other"
    assert not find_pack("tiny").embedded


def test_a_published_pack_that_is_not_there_is_told_to_be_got(home):
    with pytest.raises(VcmError, match="The pack brainldm is not installed") as caught:
        find_pack("brainldm")
    assert caught.value.code is Code.PACK_MISSING and "vcm packs get brainldm" in caught.value.remedy


def test_an_unknown_name_is_told_with_what_comes_close(home):
    make_backbone(home)
    with pytest.raises(VcmError, match="Did you mean tiny") as caught:
        find_pack("tinny")
    assert caught.value.code is Code.PACK_MISSING
    assert "vcm packs list" in caught.value.remedy


def test_broken_packs_are_listed_with_their_reason(home):
    make_backbone(home, "cut").joinpath("denoiser.safetensors").write_bytes(b"short")
    make_backbone(home, "lost").joinpath("denoiser.safetensors").unlink()
    make_backbone(home, "alias").rename(home / "renamed")
    (home / "empty").mkdir()
    make_backbone(home, "whole")
    assert named("whole").pack is not None
    assert named("cut").problem.code is Code.PACK_DAMAGED
    assert "5 bytes" in named("cut").problem.sentence
    assert "is missing" in named("lost").problem.sentence
    assert "calls itself alias" in named("renamed").problem.sentence
    assert "manifest.json" in named("empty").problem.sentence
    for broken in ("cut", "lost", "renamed", "empty"):
        assert named(broken).pack is None
        with pytest.raises(VcmError):
            find_pack(broken)


def test_a_pack_that_shadows_an_embedded_one_is_not_used_but_said(home):
    make_backbone(home, default_backbone())
    assert find_pack(default_backbone()).embedded
    assert any("comes with the program" in entry.problem.sentence for entry in list_packs() if entry.problem)


def test_installations_under_way_are_no_packs(home):
    make_backbone(home / ".vcm-new-123")
    assert {entry.name for entry in list_packs()} == {path.name for path in store.subfolders(store.EMBEDDED)}


def test_controls_belong_to_the_very_denoiser_they_were_trained_for(home):
    first = make_backbone(home)
    make_backbone(home, "retrained")
    make_control(home, denoiser_sha256(first))
    assert [control.name for control in controls_for(find_pack("tiny"))] == ["tiny-ventricles"]
    assert controls_for(find_pack("retrained")) == []


def test_a_control_given_as_backbone_and_the_reverse_end_in_sentences(home):
    make_control(home, denoiser_sha256(make_backbone(home)))
    with pytest.raises(VcmError, match="is a control for tiny"):
        _ = find_pack("tiny-ventricles").backbone
    with pytest.raises(VcmError, match="is a backbone"):
        _ = find_pack("tiny").control


def test_weights_are_opened_after_their_hash_was_checked(home):
    make_backbone(home)
    weights = open_weights(find_pack("tiny"), "denoiser")
    assert weights["weight"].shape == (3, 5, 2)
    assert weights["weight"].dtype is torch.float32


def test_one_changed_byte_stops_the_load_and_names_file_and_hashes(home):
    folder = make_backbone(home)
    expected = denoiser_sha256(folder)
    flip_byte(folder / "denoiser.safetensors")
    with pytest.raises(VcmError) as caught:
        open_weights(find_pack("tiny"), "denoiser")
    error = caught.value
    assert error.code is Code.PACK_DAMAGED
    assert str(folder / "denoiser.safetensors") in error.sentence
    assert expected[:12] in error.sentence
    assert "vcm packs remove tiny" in error.remedy
    open_weights(find_pack("tiny"), "autoencoder")


def test_a_byte_changed_after_a_good_load_is_still_noticed(home):
    folder = make_backbone(home)
    pack = find_pack("tiny")
    open_weights(pack, "denoiser")
    before = flip_byte(folder / "denoiser.safetensors")
    os.utime(folder / "denoiser.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(VcmError) as caught:
        open_weights(pack, "denoiser")
    assert caught.value.code is Code.PACK_DAMAGED


def test_a_sound_file_is_hashed_once_in_a_process(home, monkeypatch):
    make_backbone(home)
    pack = find_pack("tiny")
    hashed = []
    real = store.hash_file
    monkeypatch.setattr(store, "hash_file", lambda *a, **k: hashed.append(a) or real(*a, **k))
    for _ in range(3):
        open_weights(pack, "denoiser")
    assert len(hashed) == 1
    verify(pack)
    assert len(hashed) == 3, "verify reads every file anew"


def test_a_file_that_vanished_is_named(home):
    folder = make_backbone(home)
    pack = find_pack("tiny")
    (folder / "denoiser.safetensors").unlink()
    with pytest.raises(VcmError, match="cannot be read") as caught:
        open_weights(pack, "denoiser")
    assert caught.value.code is Code.PACK_DAMAGED


def test_a_role_the_pack_does_not_have_is_named(home):
    make_backbone(home)
    with pytest.raises(VcmError, match="no file for its segmenter"):
        open_weights(find_pack("tiny"), "segmenter")


def test_a_packs_folder_that_is_a_file_ends_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "packs").write_text("")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    broken = [entry for entry in list_packs() if entry.problem]
    assert [entry.folder for entry in broken] == [tmp_path / "packs"]
    assert "packs' folder" in broken[0].problem.sentence
    assert find_pack("brainldm-mini").embedded
    with pytest.raises(VcmError, match="packs' folder"):
        find_pack("mine")


def test_a_manifest_is_read_once_and_again_when_it_was_changed(home, monkeypatch):
    folder = make_backbone(home)
    read, parse = [], store.read_manifest
    monkeypatch.setattr(store, "read_manifest", lambda folder: read.append(folder.name) or parse(folder))
    assert [find_pack("tiny").manifest.title for _ in range(3)] == ["Tiny"] * 3 and read.count("tiny") == 1
    manifest = folder / "manifest.json"
    before = manifest.stat()
    # The same size, the same file, and even the time of change put back.
    manifest.write_text(manifest.read_text().replace('"title": "Tiny"', '"title": "Tidy"'))
    os.utime(manifest, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert manifest.stat().st_size == before.st_size
    assert find_pack("tiny").manifest.title == "Tidy" and read.count("tiny") == 2
    manifest.unlink()
    with pytest.raises(VcmError):
        find_pack("tiny")
