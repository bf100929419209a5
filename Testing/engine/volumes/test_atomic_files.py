import errno
import json
import os
import resource
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from vcm.core.errors import VcmError
from vcm.outputs.atomic_files import atomic_path, write_json, write_text
from vcm.outputs.claims import WORK, Claim
from vcm.outputs.record import RECORD


@contextmanager
def room_for(size):
    """A disk that takes no file above `size` bytes: the kernel itself refuses the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def as_nobody(action):
    """Run `action` under an account that may not write here, and return the code and words of its VcmError."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        answer = "nothing was raised"
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            action()
        except VcmError as error:
            answer = f"{error.code.value} {error}"
        except BaseException as error:
            answer = repr(error)
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def names_in(folder: Path):
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def test_a_finished_file_stands_alone_in_its_place(tmp_path):
    with atomic_path(tmp_path / "sub.01.nii.gz") as path:
        assert path.is_relative_to(tmp_path / WORK)
        assert path.name.endswith(".nii.gz")
        path.write_bytes(b"whole")
        assert names_in(tmp_path) == [WORK]
    assert names_in(tmp_path) == ["sub.01.nii.gz"]
    assert (tmp_path / "sub.01.nii.gz").read_bytes() == b"whole"


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path, failure):
    target = tmp_path / "report.json"
    write_text(target, "old")
    with pytest.raises(type(failure)), atomic_path(target) as path:
        path.write_text("half")
        raise failure
    assert names_in(tmp_path) == ["report.json"]
    assert target.read_text() == "old"


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    target = tmp_path / "report.txt"
    write_text(target, "old")
    flushed, fsync = [], os.fsync

    def watched(descriptor):
        flushed.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), target.read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with atomic_path(target) as path:
        path.write_text("new")
    assert flushed == [(str(path), "old"), (str(tmp_path / RECORD), "old"), (str(tmp_path), "new")]


def test_missing_folders_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_link_is_the_users_and_what_it_leads_to_is_never_written(tmp_path):
    write_text(tmp_path / "real" / "data.txt", "old")
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "data.txt")
    with pytest.raises(VcmError, match="not written by this program"):
        write_text(link, "new")
    assert link.is_symlink() and link.read_text() == "old"
    with Claim(tmp_path, force=True):
        write_text(link, "new")
    assert not link.is_symlink() and link.read_text() == "new"
    assert (tmp_path / "real" / "data.txt").read_text() == "old"


def test_a_folder_that_is_a_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    for text in ("old", "new"):
        write_text(tmp_path / "out" / "data.txt", text)
    assert (tmp_path / "out").is_symlink() and names_in(tmp_path / "real") == ["data.txt"]
    assert (tmp_path / "real" / "data.txt").read_text() == "new"


def test_an_existing_file_keeps_its_permissions(tmp_path):
    target = tmp_path / "shared.txt"
    write_text(target, "old")
    target.chmod(0o664)
    write_text(target, "new")
    assert target.stat().st_mode & 0o777 == 0o664


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path):
    target = tmp_path / "report.txt"
    write_text(target, "old")
    with room_for(10_000), pytest.raises(VcmError) as caught:
        write_text(target, "x" * 50_000)
    assert caught.value.code == "DISK_FULL"
    assert str(target) in caught.value.sentence
    assert caught.value.remedy
    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["report.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_quota_is_as_full_as_a_disk(tmp_path, number):
    with pytest.raises(VcmError) as caught, atomic_path(tmp_path / "a.bin"):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == "DISK_FULL"


def test_a_full_disk_told_in_words_alone_is_understood(tmp_path):
    with pytest.raises(VcmError) as caught, atomic_path(tmp_path / "w.safetensors"):
        raise RuntimeError('Error while serializing: IoError(Os { code: 28, message: "No space left on device" })')
    assert caught.value.code == "DISK_FULL"


def test_other_errors_pass_as_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a.bin"):
        raise ZeroDivisionError


@pytest.fixture
def open_folder():
    """A folder that every account may enter, as pytest's own are closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_a_folder_of_someone_else_is_refused_in_a_sentence(open_folder):
    open_folder.chmod(0o555)
    answer = as_nobody(lambda: write_text(open_folder / "a.txt", "x"))
    assert answer.startswith("NO_PERMISSION")
    assert "a.txt" in answer
    assert names_in(open_folder) == []


def test_a_write_protected_file_is_not_replaced(open_folder):
    # The folder may be written, so a rename would go through and the file would be lost.
    target = open_folder / "kept.txt"
    write_text(target, "precious")
    target.chmod(0o444)
    (open_folder / RECORD).chmod(0o666)
    answer = as_nobody(lambda: write_text(target, "x"))
    assert answer.startswith("NO_PERMISSION")
    assert target.read_text() == "precious"
    assert as_nobody(lambda: write_text(open_folder / "other.txt", "x")) == "nothing was raised"


def test_a_path_below_a_file_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt"):
        with pytest.raises(VcmError) as caught:
            write_text(target, "x")
        assert caught.value.code == "NO_PERMISSION"
        assert str(target) in caught.value.sentence
    assert (tmp_path / "file").read_text() == "x"


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(VcmError, match="is a folder"):
        write_text(tmp_path / "out", "x")
    assert (tmp_path / "out").is_dir()


def test_a_place_that_takes_no_files_is_refused_in_a_sentence():
    with pytest.raises(VcmError) as caught:
        write_text("/proc/a.txt", "x")
    assert caught.value.code == "NO_PERMISSION"


def test_json_holds_null_for_what_it_does_not_know_and_every_letter_as_it_is(tmp_path):
    write_json(tmp_path / "r.json", {"hd95": float("nan"), "list": (1.5, float("inf")), "name": "Größe ≥ 2"})
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert "Größe ≥ 2" in text
    assert json.loads(text) == {"hd95": None, "list": [1.5, None], "name": "Größe ≥ 2"}


@pytest.mark.skipif(os.name != "posix", reason="folders are flushed on POSIX systems")
def test_a_claim_that_settles_late_flushes_its_folder_once_and_each_file_before_it_is_in_place(tmp_path, monkeypatch):
    flushed, flush = [], os.fsync

    def noted(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        flushed.append((kind, sorted(path.name for path in tmp_path.glob("*.txt"))))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with Claim(tmp_path, settled_late=True):
        write_text(tmp_path / "a.txt", "a")
        write_text(tmp_path / "b.txt", "b")
    # A file and the record's line of it, before it has its name; the names at the end.
    assert flushed == [("file", [])] * 2 + [("file", ["a.txt"])] * 2 + [("folder", ["a.txt", "b.txt"])]
    flushed.clear()
    with Claim(tmp_path):
        write_text(tmp_path / "c.txt", "c")
        assert flushed[-1] == ("folder", ["a.txt", "b.txt", "c.txt"])
