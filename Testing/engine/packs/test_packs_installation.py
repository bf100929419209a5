"""Packs get in and out whole: whatever breaks on the way, there is the old pack, the new one or none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from sample_packs import make_backbone
from vcm.core.errors import Code, VcmError
from vcm.outputs.atomic_files import write_text
from vcm.outputs.swapped_folders import swapped_folder
from vcm.packs.installation import check_name, install_folder, remove
from vcm.packs.store import default_backbone, find_pack


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def install(name, version="1", force=False):
    with install_folder(name, force=force) as folder:
        folder.rmdir()
        make_backbone(folder.parent, name, version=version)


def everything(home):
    return sorted(path.name for path in home.iterdir())


def test_a_pack_appears_when_the_block_ends(home):
    with install_folder("tiny") as folder:
        folder.rmdir()
        make_backbone(folder.parent)
        assert not (home / "tiny").exists()
    assert find_pack("tiny").folder == home / "tiny"
    assert everything(home) == ["tiny"]


def test_an_error_on_the_way_leaves_nothing(home):
    with pytest.raises(RuntimeError), install_folder("tiny") as folder:
        (folder / "denoiser.safetensors").write_bytes(b"half")
        raise RuntimeError
    assert everything(home) == []


def test_a_folder_that_is_no_pack_is_not_installed(home):
    with pytest.raises(VcmError, match="is no pack"), install_folder("tiny"):
        pass
    assert everything(home) == []


def test_an_existing_pack_is_refused_unless_forced(home):
    install("tiny", "1")
    with pytest.raises(VcmError, match="There is a pack tiny already") as caught:
        install("tiny", "2")
    assert "--force" in caught.value.remedy
    assert find_pack("tiny").manifest.version == "1"
    install("tiny", "2", force=True)
    assert find_pack("tiny").manifest.version == "2"
    assert everything(home) == ["tiny"]


def test_a_failed_replacement_keeps_the_old_pack(home):
    install("tiny", "1")
    with pytest.raises(RuntimeError), install_folder("tiny", force=True):
        raise RuntimeError
    assert find_pack("tiny").manifest.version == "1"
    assert everything(home) == ["tiny"]


def test_a_replacement_that_cannot_be_moved_puts_the_old_pack_back(home, monkeypatch):
    install("tiny", "1")
    real = Path.rename

    def fail_once_the_old_is_aside(self, target):
        if target == home / "tiny" and self.name != ".vcm-old-tiny":
            assert not target.exists()
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail_once_the_old_is_aside)
    with pytest.raises(VcmError) as caught:
        install("tiny", "2", force=True)
    assert caught.value.code is Code.DISK_FULL
    assert find_pack("tiny").manifest.version == "1"
    assert everything(home) == ["tiny"]


def test_what_a_killed_installation_left_is_cleared_and_its_old_pack_restored(home):
    make_backbone(home, "rescued").rename(home / ".vcm-old-rescued")
    make_backbone(home / ".vcm-new-rescued", "rescued")
    make_backbone(home / ".vcm-gone-away", "away")
    make_backbone(home / ".vcm-new-half", "half")
    install("tiny")
    assert find_pack("rescued").folder == home / "rescued"
    assert everything(home) == ["rescued", "tiny"]


def test_an_installation_that_goes_on_is_left_alone(home):
    with install_folder("slow") as folder:
        install("tiny")
        folder.rmdir()
        make_backbone(folder.parent, "slow")
    assert everything(home) == ["slow", "tiny"]


@pytest.mark.parametrize("name", ["", "Tiny", "../tiny", "a/b", ".hidden", "-x", "tiny.", "a" * 81, "täst"])
def test_a_name_that_cannot_be_a_folder_is_refused(home, name):
    with pytest.raises(VcmError, match="cannot be a pack's name"):
        check_name(name)


def test_the_name_of_an_embedded_pack_is_taken(home):
    with pytest.raises(VcmError, match="comes with the program"):
        check_name(default_backbone(), force=True)


def test_removing_deletes_that_pack_alone(home):
    install("tiny")
    install("other")
    remove("tiny")
    assert everything(home) == ["other"]


def test_a_broken_pack_can_be_removed(home):
    (home / "broken").mkdir(parents=True)
    remove("broken")
    assert everything(home) == []


def test_a_linked_pack_is_unlinked_and_its_target_stays(home, tmp_path):
    folder = make_backbone(tmp_path / "elsewhere")
    home.mkdir()
    (home / "tiny").symlink_to(folder)
    remove("tiny")
    assert everything(home) == []
    assert (folder / "manifest.json").exists()


def test_embedded_packs_and_folders_elsewhere_are_never_removed(home, tmp_path):
    folder = make_backbone(tmp_path / "elsewhere")
    for name in (default_backbone(), str(folder)):
        with pytest.raises(VcmError, match="is not removed") as caught:
            remove(name)
        assert caught.value.code is Code.BAD_REQUEST
    with pytest.raises(VcmError):
        remove("..")
    with pytest.raises(VcmError):
        remove("no-such-pack")
    assert (folder / "manifest.json").exists()
    assert find_pack(default_backbone()).folder.exists()


def test_a_packs_folder_that_cannot_be_made_ends_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", "/proc/packs")
    with pytest.raises(VcmError, match="/proc/packs"):
        install("tiny")


def test_folders_of_the_user_that_only_look_like_leftovers_stay(home):
    for name in (".new-mine", ".gone-mine", ".old-photos"):
        (home / name).mkdir(parents=True)
        (home / name / "thesis.txt").write_text("mine")
    install("tiny")
    assert everything(home) == [".gone-mine", ".new-mine", ".old-photos", "tiny"]


def test_files_of_the_user_below_a_folder_that_is_exchanged_are_kept_or_refused(tmp_path):
    pack = tmp_path / "pack"

    def written(text, **options):
        with swapped_folder(pack, **options) as folder:
            write_text(folder / "weights" / "a.txt", text)

    written("first")
    note = pack / "weights" / "note.txt"
    note.write_text("the user's")
    written("second")
    assert note.read_text() == "the user's" and (pack / "weights" / "a.txt").read_text() == "second"
    (pack / "weights" / "a.txt").write_text("changed by the user")
    with pytest.raises(VcmError):
        written("third")
    assert (pack / "weights" / "a.txt").read_text() == "changed by the user"
    with pytest.raises(VcmError, match="was given as an input"):
        written("third", force=True, inputs=[pack / "weights" / "a.txt"])
