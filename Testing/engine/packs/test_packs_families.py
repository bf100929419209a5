"""A catalogue's backbone of another family: NVIDIA's terms and the lack of a hash are put to the user first."""

from __future__ import annotations

import json

import pytest
from command_line import vcm
from file_server import serve_files
from maisi_files import CONFIG, SCALE, write_files
from vcm.packs import catalogue
from vcm.packs.catalogue import CATALOGUE
from vcm.packs.store import find_pack


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The catalogue's own entry, but for a tiny model on a server of the test's, with hashes only where asked for."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    (tmp_path / "published").mkdir()
    files = write_files(tmp_path / "published")
    content = json.loads(CATALOGUE.read_text("utf-8"))
    entry = next(entry for entry in content["entries"] if entry["name"] == "mr-brain")
    with serve_files({f"/{path.name}": path.read_bytes() for path in files.values()}) as running:
        monkeypatch.setattr(catalogue, "CATALOGUE", tmp_path / "catalogue.json")

        def write(hashes):
            import hashlib

            for file in entry["files"]:
                path = files[file["role"]]
                file.pop("md5", None)
                if hashes:
                    file |= {"md5": hashlib.md5(path.read_bytes()).hexdigest(), "url": running.url(f"/{path.name}")}
            (tmp_path / "catalogue.json").write_text(
                json.dumps({"format": 1, "entries": [{**entry, "config": CONFIG}]})
            )

        running.write = write
        yield running


def test_the_terms_are_shown_and_without_a_yes_nothing_is_asked_of_the_server(site):
    site.write(hashes=True)
    ended = vcm("packs", "get", "mr-brain")
    words = " ".join(ended.err.split())
    assert ended.code == 1 and "NVIDIA Open Model License" in words and "CC BY-NC-SA 4.0" in words
    assert "nvidia-open-model-license" in words and "--accept-licence" in words
    assert site.requests == []


def test_files_without_a_known_hash_need_a_second_yes(site, tmp_path):
    site.write(hashes=False)
    ended = vcm("packs", "get", "mr-brain", "--accept-licence")
    assert ended.code == 1 and "No hash of autoencoder_v1.pt" in ended.err and "--accept-unverified" in ended.err
    assert "huggingface.co/nvidia" in ended.err and not (tmp_path / "packs" / "mr-brain").exists()
    ended = vcm("packs", "get", "mr-brain", "--accept-licence", "--accept-unverified", "--from", tmp_path / "published")
    assert ended.code == 0, ended.err


def test_accepted_it_is_fetched_and_made_a_pack_of_its_family_with_its_licence(site):
    site.write(hashes=True)
    ended = vcm("packs", "get", "mr-brain", "--accept-licence")
    assert ended.code == 0, ended.err
    manifest = find_pack("mr-brain").backbone
    assert (manifest.family, manifest.latent.scale_factor, manifest.licence.name) == (
        "maisi", SCALE, "NVIDIA Open Model License",
    )  # fmt: skip
    assert manifest.title == "NV-Generate-MR-Brain (NVIDIA, v1)"


def test_files_of_another_size_are_refused_without_their_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    write_files(tmp_path)
    ended = vcm("packs", "get", "mr-brain", "--from", tmp_path, "--accept-licence", "--accept-unverified")
    assert ended.code == 1 and "tensors" in ended.err and "autoencoder_v1.pt" in ended.err
