"""A whole pack in one file: made by a release, fetched like any other, and refused where it is not what it says."""

import hashlib
import json
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from file_server import serve_files
from release_tree import archive_pack
from vcm.core.errors import Code, VcmError
from vcm.outputs.claims import entries_of
from vcm.packs.acquiring import Consent, acquire
from vcm.packs.archive import install_archive
from vcm.packs.catalogue import find_entry
from vcm.packs.store import find_pack, packs_folder, verify

MICRO = Path(__file__).parents[2] / "packs" / "micro"


@pytest.fixture(autouse=True)
def own_packs(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "micro-0.1.0.zip"
    archive_pack(MICRO, path)
    return path


def rewritten(archive: Path, change) -> Path:
    """The archive with its members passed through `change`, a function from {name: bytes} to {name: bytes}."""
    with zipfile.ZipFile(archive) as file:
        members = change({name: file.read(name) for name in file.namelist()})
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return archive


def refused(archive: Path, match: str, name: str = "micro") -> None:
    with pytest.raises(VcmError, match=match) as caught:
        install_archive(name, archive)
    assert caught.value.code in (Code.PACK_DAMAGED, Code.PACK_INVALID)
    assert not list(packs_folder().glob("*")), "nothing may stay of a refused pack"


def test_a_pack_comes_back_from_its_archive_byte_for_byte(archive):
    pack = install_archive("micro", archive)
    verify(pack)
    files = {path.name: path.read_bytes() for path in MICRO.iterdir()}
    assert {path.name: path.read_bytes() for path in entries_of(pack.folder)} == files


def test_the_same_pack_makes_the_same_archive(archive, tmp_path):
    again = shutil.copytree(MICRO, tmp_path / "copied later")
    archive_pack(again, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_a_release_s_pack_is_fetched_by_its_catalogue_entry(archive, tmp_path):
    content = archive.read_bytes()
    with serve_files({"/v0.1.0/micro-0.1.0.zip": content}) as site:
        file = {
            "role": "pack", "filename": archive.name, "url": site.url("/v0.1.0/micro-0.1.0.zip"),
            "size": len(content), "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        entry = {
            "name": "micro", "title": "Micro", "description": "Small.", "kind": "backbone", "automatic": True,
            "licence": {"name": "Apache-2.0", "url": "", "summary": "Free to use.", "must_accept": False},
            "files": [file],
        }  # fmt: skip
        (tmp_path / "catalogue.json").write_text(json.dumps({"format": 1, "entries": [entry]}))
        packs = acquire(find_entry("micro", tmp_path / "catalogue.json"), Consent())
    assert [pack.name for pack in packs] == ["micro"] and find_pack("micro").folder == packs_folder() / "micro"


def test_a_member_outside_the_folder_is_never_written(archive, tmp_path):
    refused(rewritten(archive, lambda members: {f"../{name}": data for name, data in members.items()}), "no manifest")
    assert not (packs_folder() / "manifest.json").exists()
    rewritten(archive, lambda members: {name[3:]: data for name, data in members.items()} | {"../evil.json": b"{}"})
    install_archive("micro", archive)
    assert not list(tmp_path.rglob("evil.json"))


def test_what_the_manifest_does_not_name_is_left_out(archive):
    rewritten(archive, lambda members: members | {"run_me.py": b"print()", "more.safetensors": b"0"})
    assert not {"run_me.py", "more.safetensors"} & {
        path.name for path in install_archive("micro", archive).folder.iterdir()
    }


def test_altered_weights_another_name_and_a_missing_file_are_refused(archive, tmp_path):
    def flip(members):
        weights = bytearray(members["denoiser.safetensors"])
        weights[-1] ^= 1
        return members | {"denoiser.safetensors": bytes(weights)}

    refused(archive, "holds the pack micro, not other", name="other")
    refused(rewritten(shutil.copyfile(archive, tmp_path / "flipped.zip"), flip), "was changed")
    without = {"denoiser.safetensors"}
    refused(
        rewritten(archive, lambda members: {name: data for name, data in members.items() if name not in without}),
        "lacks denoiser.safetensors",
    )


def test_a_member_that_unpacks_to_more_than_it_should_is_stopped(archive):
    refused(rewritten(archive, lambda members: members | {"manifest.json": b" " * 500_000_000}), "is larger than")


@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "bad member"])
def test_what_is_no_archive_is_refused_with_its_name(archive, damage):
    content = archive.read_bytes()
    start = struct.unpack("<HH", content[26:30])
    broken = {
        "text": b"<html>not found</html>",
        "truncated": content[: len(content) // 2],
        "empty": b"",
        "bad member": content[: 30 + sum(start)] + b"\xff" * 40 + content[30 + sum(start) + 40 :],
    }
    archive.write_bytes(broken[damage])
    refused(archive, "cannot be installed as a pack|micro-0.1.0.zip")


def test_a_signature_comes_along(archive):
    pack = install_archive("micro", rewritten(archive, lambda members: {**members, "model.sig": b"{}"}))
    assert (pack.folder / "model.sig").read_bytes() == b"{}"


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, "encrypted"])
def test_an_archive_packed_in_another_way_is_refused(archive, way):
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED if way == "encrypted" else way) as file:
        for name, content in members.items():
            file.writestr(name, content)
    if way == "encrypted":
        data = bytearray(archive.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        archive.write_bytes(data)
    refused(archive, "encrypted or compressed in an uncommon way")
