"""From the catalogue to installed packs: consent, downloads, local files, and what breaks on the way."""

from __future__ import annotations

import sys
from subprocess import PIPE, Popen

import pytest
from file_server import serve_files
from own_catalogue import write_catalogue
from sample_packs import make_checkpoints
from vcm.core.errors import Code, VcmError
from vcm.packs import acquiring
from vcm.packs.acquiring import Consent, acquire, downloads_folder
from vcm.packs.catalogue import find_entry
from vcm.packs.store import controls_for, find_pack, verify

ALL = Consent(licence=True, unverified=True)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("published"))


@pytest.fixture
def site(published, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve_files({f"/{path.name}": path.read_bytes() for path in published.values()}) as running:
        yield running


@pytest.fixture
def entries(site, published, tmp_path, monkeypatch):
    """The catalogue's two kinds of entries, pointing at the test's own server."""
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    path = write_catalogue(tmp_path / "catalogue.json", site, published)
    return {name: find_entry(name, path) for name in ("remote", "by-hand")}


def test_a_download_becomes_a_pack_with_its_licence(entries):
    heard = []
    packs = acquire(entries["remote"], ALL, progress=lambda name, done, total: heard.append((name, done, total)))
    assert [pack.name for pack in packs] == ["remote"]
    assert packs[0].manifest.licence.name == "Some-1.0"
    assert packs[0].manifest.title == "Title"
    assert {name for name, _, _ in heard} == {"autoencoder.pth", "diffusion_model.pth"}
    assert not downloads_folder(entries["remote"]).exists()


def test_without_consent_nothing_is_asked_of_the_server(entries, site):
    with pytest.raises(VcmError, match="was not accepted") as caught:
        acquire(entries["remote"], Consent())
    assert caught.value.code is Code.LICENCE
    assert "--accept-licence" in caught.value.remedy
    assert site.requests == []


def test_what_must_come_by_hand_is_never_downloaded(entries, site):
    with pytest.raises(VcmError, match="not downloaded by the program") as caught:
        acquire(entries["by-hand"], ALL)
    assert "https://example.org/page" in caught.value.remedy
    assert site.requests == []


def test_a_file_of_unknown_hash_needs_its_own_consent(entries, published):
    acquire(entries["remote"], ALL)
    with pytest.raises(VcmError, match="No hash of") as caught:
        acquire(entries["by-hand"], Consent(licence=True), given=published["control"])
    assert "--accept-unverified" in caught.value.remedy
    packs = acquire(entries["by-hand"], ALL, given=published["control"])
    assert controls_for(find_pack("remote"))[0].name == packs[0].name == "by-hand"


def test_a_control_asks_for_its_backbone_first(entries, published):
    with pytest.raises(VcmError, match="There is no pack remote"):
        acquire(entries["by-hand"], ALL, given=published["control"])


def test_a_folder_of_files_serves_an_offline_machine(entries, site, published):
    packs = acquire(entries["remote"], ALL, given=published["autoencoder"].parent)
    assert packs[0].name == "remote"
    assert site.requests == []
    assert published["autoencoder"].exists()


def test_a_folder_may_hold_the_file_under_its_other_name(entries, published, tmp_path):
    acquire(entries["remote"], ALL)
    (tmp_path / "usb").mkdir()
    (tmp_path / "usb" / "renamed.pt").write_bytes(published["control"].read_bytes())
    assert acquire(entries["by-hand"], ALL, given=tmp_path / "usb")[0].name == "by-hand"


def test_local_files_are_held_against_the_hash_too(entries, published, tmp_path):
    folder = tmp_path / "usb"
    folder.mkdir()
    for role in ("autoencoder", "denoiser"):
        content = bytearray(published[role].read_bytes())
        content[len(content) // 2] ^= role == "denoiser"
        (folder / published[role].name).write_bytes(content)
    with pytest.raises(VcmError, match="is another file than expected") as caught:
        acquire(entries["remote"], ALL, given=folder)
    assert caught.value.code is Code.PACK_DAMAGED
    assert str(folder / published["denoiser"].name) in caught.value.sentence


def test_missing_local_files_are_named(entries, published, tmp_path):
    with pytest.raises(VcmError, match=r"has no autoencoder\.pth"):
        acquire(entries["remote"], ALL, given=tmp_path)
    with pytest.raises(VcmError, match="several files"):
        acquire(entries["remote"], ALL, given=published["denoiser"])
    with pytest.raises(VcmError, match="no file or folder"):
        acquire(entries["remote"], ALL, given=tmp_path / "nowhere")


def test_a_failed_import_costs_no_second_download(entries, site, monkeypatch):
    def fail(*_, **__):
        raise VcmError(Code.DISK_FULL, "Full.")

    with monkeypatch.context() as broken:
        broken.setattr(acquiring, "import_published", fail)
        with pytest.raises(VcmError, match="Full"):
            acquire(entries["remote"], ALL)
    asked = len(site.requests)
    assert acquire(entries["remote"], ALL)[0].name == "remote"
    assert len(site.requests) == asked


def test_a_taken_name_is_refused_before_the_download(entries, site):
    acquire(entries["remote"], ALL)
    site.requests.clear()
    with pytest.raises(VcmError, match="There is a pack remote already"):
        acquire(entries["remote"], ALL)
    assert site.requests == []
    acquire(entries["remote"], ALL, force=True)


def test_room_for_download_and_pack_is_asked_for_at_once(entries, site, monkeypatch):
    needed = 2 * entries["remote"].expected_bytes
    monkeypatch.setattr(acquiring.shutil, "disk_usage", lambda path: type("Usage", (), {"free": needed - 1})())
    with pytest.raises(VcmError) as caught:
        acquire(entries["remote"], ALL)
    assert caught.value.code is Code.DISK_FULL
    assert site.requests == []


ONE_OF_SEVERAL = """
import sys
from pathlib import Path
from vcm.core.errors import VcmError
from vcm.packs.acquiring import Consent, acquire
from vcm.packs.catalogue import find_entry
entry = find_entry("remote", Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    acquire(entry, Consent(licence=True, unverified=True))
    print("installed")
except VcmError as error:
    print(error)
"""


def test_of_several_processes_one_fetches_and_installs_the_others_are_refused(entries, site, tmp_path):
    command = [sys.executable, "-c", ONE_OF_SEVERAL, str(tmp_path / "catalogue.json")]
    several = [Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(4)]
    assert [process.stdout.readline() for process in several] == ["ready\n"] * 4
    for process in several:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=300)[0].strip() for process in several)
    assert said.count("installed") == 1, said
    refused = [words for words in said if words != "installed"]
    assert all(
        "is being written by another process" in words or "There is a pack remote already" in words for words in refused
    ), said
    assert len(site.requests) == 2, "the files were fetched more than once"
    verify(find_pack("remote"))
    assert [path.name for path in (tmp_path / "packs").iterdir() if not path.name.startswith(".")] == ["remote"]
    assert not downloads_folder(entries["remote"]).exists()
