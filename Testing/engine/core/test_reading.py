"""What is read is an ordinary file of bounded size; every module reads through one door."""

import ast
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from vcm.core.errors import Code, VcmError
from vcm.core.reading import MOST_DEPTH, open_ordinary, open_text, read_bytes, read_json, read_text
from vcm.outputs.sealed_json import CHECKSUM, read_sealed, write_sealed

ENGINE = Path(__file__).resolve().parents[3] / "VCMSlicer" / "vcm"


def refused(action, *words, code=None):
    with pytest.raises(VcmError) as caught:
        action()
    for word in words:
        assert word in caught.value.sentence
    assert caught.value.remedy
    assert code is None or caught.value.code is code
    return caught.value


# Ordinary files


@pytest.mark.parametrize("read", [open_ordinary, read_bytes, read_text, open_text, read_json, read_sealed])
def test_what_is_no_ordinary_file_is_refused_without_waiting(tmp_path, read):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    began = time.monotonic()
    refused(lambda: read(pipe), str(pipe), "a pipe", code=Code.FILE_UNREADABLE)
    link = tmp_path / "zero.json"
    link.symlink_to("/dev/zero")
    refused(lambda: read(link), str(link), "a device")
    refused(lambda: read(tmp_path), str(tmp_path), "a folder")
    assert time.monotonic() - began < 5


def test_a_pipe_that_takes_a_files_place_meanwhile_is_noticed(tmp_path):
    # The file is looked at after it was opened, not before.
    path = tmp_path / "a"
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            path.unlink(missing_ok=True)
            os.mkfifo(path)
            path.unlink()
            path.write_bytes(b"x")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(300):
            with contextlib.suppress(VcmError):
                assert read_bytes(path) in (b"x", b"")
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    ("name", "code"), [("none", Code.FILE_MISSING), ("a\0b", Code.FILE_MISSING), ("x" * 300, Code.FILE_UNREADABLE)]
)
def test_a_path_that_can_be_no_file_ends_in_a_sentence(tmp_path, name, code):
    error = refused(lambda: read_bytes(tmp_path / name), code=code)
    assert "\0" not in error.sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_told(tmp_path):
    path = tmp_path / "a"
    path.touch(0o200)
    refused(lambda: read_bytes(path), str(path), code=Code.NO_PERMISSION)


# Texts and JSON


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read, as Linux has one"
)
@pytest.mark.parametrize("read", [lambda file: file.read(1), lambda file: file.read(), lambda file: file.readline()])
def test_a_disk_that_fails_while_it_is_read_ends_in_a_sentence(tmp_path, read):
    link = tmp_path / "scan.nii"
    link.symlink_to("/proc/self/mem")
    with (
        open_ordinary(link) as file,
        pytest.raises(VcmError, match=r"scan\.nii cannot be used: it cannot be read") as caught,
    ):
        read(file)
    assert caught.value.code is Code.FILE_UNREADABLE


def test_a_file_larger_than_it_can_be_is_not_read_whole(tmp_path):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(10**12)
    refused(lambda: read_text(path, 1000), str(path), "1,000 bytes")


@pytest.mark.parametrize(("content", "word"), [(b"\xff\xfe{}", "UTF-8"), (b"a\0b", "NUL")])
def test_what_is_no_text_is_refused(tmp_path, content, word):
    path = tmp_path / "a"
    path.write_bytes(content)
    refused(lambda: read_text(path), str(path), word)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "7", "null", '"a"', "", "{", "[" * 100_000, '{"a":' * 100_000, '{"a": NaN}', '{"a": 1e999}',
        '{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}', '{"a\\u0000": 1}', '{"a": Infinity}',
        '{"a":' + "[" * MOST_DEPTH + "]" * MOST_DEPTH + "}",
    ],
)  # fmt: skip
def test_json_of_another_kind_or_depth_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    refused(lambda: read_json(path), str(path), code=Code.FILE_UNREADABLE)
    refused(lambda: read_json(path, code=Code.PACK_INVALID), str(path), code=Code.PACK_INVALID)


def test_json_as_deep_as_it_may_be_is_read(tmp_path):
    inner = []
    for _ in range(MOST_DEPTH - 3):
        inner = [inner]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": inner, "b": -1.5e-7, "c": 2**63, "é": "\U0001f600"}), "utf-8-sig")
    assert read_json(path) == {"a": inner, "b": -1.5e-7, "c": 2**63, "é": "\U0001f600"}


# The program's own state

STATE = {"cases": 12, "figures": [0.1, 1e-9, float("nan")], "nested": {"é": ["x", None, True], "2": 7}, "at": (1, 2)}


def test_state_comes_back_as_it_was(tmp_path):
    write_sealed(tmp_path / "a.json", {**STATE, 3: "number"})
    expected = {**STATE, "figures": [0.1, 1e-9, None], "at": [1, 2], "3": "number"}
    assert read_sealed(tmp_path / "a.json") == expected


def test_every_changed_letter_of_state_is_noticed_or_says_the_same(tmp_path):
    path = tmp_path / "a.json"
    write_sealed(path, STATE)
    whole, before = path.read_bytes(), read_sealed(path)
    noticed = 0
    for place in range(len(whole)):
        for bit in (0, 4):
            spoilt = bytearray(whole)
            spoilt[place] ^= 1 << bit
            path.write_bytes(spoilt)
            try:
                found = read_sealed(path)
            except VcmError as error:
                assert str(path) in error.sentence
                noticed += 1
            else:
                found.pop(next((name for name in found if name not in before), ""), None)  # the checksum's own name
                assert found == before
    assert noticed > len(whole)


def test_state_of_an_earlier_version_is_taken_as_it_is(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"cases": 3}')
    assert read_sealed(path) == {"cases": 3}
    path.write_text(json.dumps({"cases": 3, CHECKSUM: "0" * 32}))
    refused(lambda: read_sealed(path), str(path), "checksum")


# One door

READERS = {"read_text", "read_bytes", "ReadImage", "ImageFileReader", "ImageSeriesReader", "fromfile", "memmap"} | {
    "from_filename", "from_file_map", "from_fileobj", "from_stream",
}  # fmt: skip
"""Attributes that open a file by its path."""

OF_MODULES = {
    ("json", "load"): set(),
    ("nibabel", "load"): set(),
    ("np", "load"): set(),
    ("np", "loadtxt"): set(),
    ("np", "genfromtxt"): set(),
    ("torch", "load"): {"packs/tensors/checkpoints.py", "training/trainer/checkpoint.py"},
    ("jit", "load"): {"evaluation/measures/feature_networks.py"},
    ("os", "open"): {
        "core/reading.py",
        "outputs/claims.py",
        "worker/streams.py",
        "cli/display/terminal.py",
        "outputs/folder_lock.py",
        "outputs/record.py",
    },
    ("zipfile", "ZipFile"): {"packs/tensors/checkpoints.py", "training/trainer/checkpoint.py", "packs/archive.py"},
    ("tarfile", "open"): set(),
    ("Image", "open"): set(),
}
BY_NAME = {
    "load_file": {"packs/tensors/checkpoints.py", "packs/store.py", "evaluation/result_store.py"},
    "safe_open": {"training/data/latent_cache.py"},
    "open": {"core/reading.py"},
}
"""Who may: each looks first whether it is an ordinary file, or writes."""


def reading_calls(path):
    """The calls of a module that open a file to read it."""
    name = path.relative_to(ENGINE).as_posix()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        said = f"{name}:{node.lineno}: {ast.unparse(node)[:80]}"
        if isinstance(called, ast.Name) and name not in BY_NAME.get(called.id, {name}):
            yield said
        if not isinstance(called, ast.Attribute):
            continue
        owner = called.value.attr if isinstance(called.value, ast.Attribute) else getattr(called.value, "id", "")
        if called.attr in READERS or name not in OF_MODULES.get((owner, called.attr), {name}):
            yield said
        if called.attr == "open" and _reads(node):
            yield said


def _reads(call):
    """Whether it is a path's `open` for reading; folders and stores of ours have an `open` without a mode."""
    modes = [arg.value for arg in call.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    modes += [word.value.value for word in call.keywords if word.arg == "mode"]
    texts = {word.arg for word in call.keywords} & {"encoding", "newline", "errors"}
    return not set("".join(modes) or "r") & set("wax+") if modes or texts else False


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: p.relative_to(ENGINE).as_posix())
def test_no_module_reads_a_file_but_through_the_door(path):
    own = [] if path.name == "atomic_files.py" else list(reading_calls(path))
    assert not own, "read through vcm.core.reading or a reader of vcm.volumes: " + "; ".join(own)


def test_the_door_is_watched():
    program = (
        "import json, numpy as np, torch\nfrom pathlib import Path\n"
        "Path('a').read_text()\nopen('a')\nPath('a').open('rb')\nPath('a').open(encoding='utf-8')\n"
        "json.load(x)\nnibabel.load('a')\nMGHImage.from_filename('a')\nnp.load('a')\ntorch.load('a')\nsitk.ReadImage('a')\nload_file('a')\n"
        "Path('a').open('wb')\nfolder.open()\n"
    )
    place = ENGINE / "watched.py"

    class Source(type(place)):
        def read_text(self, *_, **__):
            return program

    assert len(list(reading_calls(Source(place)))) == 11


# From outside

COMMANDS = {
    "a table that is a device": ["generate", "--cases", "/dev/zero"],
    "noise through a pipe": ["generate", "--condition", "ventricles={mask}", "--noise", "{pipe}"],
    "an image that is a pipe": ["doctor", "--condition", "ventricles={pipe}.nii.gz"],
    "voxels that are a pipe": ["doctor", "--condition", "ventricles={detached}"],
    "another user's home": ["packs", "show", "~nobody-here/x"],
    "a letter too long": ["doctor", "--condition", "ventricles=" + "x" * 5000 + ".nii.gz"],
    "ascii that is none": ["doctor", "--condition", "ventricles={ascii}"],
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_ends_in_a_sentence(tmp_path, case):
    for name in ("pipe", "pipe.nii.gz"):
        os.mkfifo(tmp_path / name)
    header = (
        "NRRD0005\ntype: short\ndimension: 3\nspace: LPS\nsizes: 8 9 10\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        "space origin: (0,0,0)\nendian: little\n"
    )
    (tmp_path / "a.nhdr").write_text(header + "encoding: raw\ndata file: pipe\n")
    (tmp_path / "a.nrrd").write_bytes((header + "encoding: ascii\n\n").encode() + bytes(1440))
    mask = ENGINE.parent / "Resources" / "DemoCase" / "ventricles.nii.gz"
    places = {"mask": mask, "pipe": tmp_path / "pipe", "detached": tmp_path / "a.nhdr", "ascii": tmp_path / "a.nrrd"}
    words = [word.format(**places) for word in COMMANDS[case]]
    if words[0] == "generate":
        words += ["--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "vcm", *words], capture_output=True, text=True, timeout=120, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode in (1, 2), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "should not have" not in done.stderr
