"""One broken pack is named and left aside, and everything else goes on: the list, every command, the worker."""

import json
import os
import sys

import pytest
from command_line import vcm, vcm_apart, without_privileges
from sample_packs import make_backbone
from vcm import protocol
from vcm.core.errors import VcmError
from vcm.packs.store import find_pack, list_packs
from worker_client import WorkerClient

REAL_WORKER = (sys.executable, "-m", "vcm.worker")


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "packs"
    make_backbone(home)
    monkeypatch.setenv("VCM_PACKS", str(home))
    return home


def broken(home, text):
    """A second pack, whose manifest is this text or these bytes."""
    folder = home / "broken"
    folder.mkdir()
    (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def changed(home, **fields):
    content = json.loads((home / "tiny" / "manifest.json").read_text("utf-8"))
    return json.dumps({**content, "name": "broken", **fields})


MANIFESTS = {
    "half a character": lambda home: changed(home, title="\ud800"),
    "not a number": lambda home: changed(home).replace('"scale_factor": ', '"scale_factor": NaN, "was": '),
    "infinity": lambda home: changed(home).replace('"scale_factor": ', '"scale_factor": 1e999, "was": '),
    "a list": lambda home: "[]",
    "nothing": lambda home: "",
    "deep": lambda home: "[" * 100_000,
    "a huge number": lambda home: changed(home, format=1).replace('"format": 1', '"format": ' + "9" * 5000),
    "no Unicode": lambda home: b'{"name": "\xff\xfe"}',
    "zero bytes": lambda home: "\0" * 100,
    "a network of a negative size": lambda home: changed(
        home, networks={"autoencoder": {"norm_num_groups": -1}, "denoiser": {}}
    ),
    "commands for a terminal": lambda home: changed(home, title="\x1b[2Jtitle", version=3),
}


@pytest.mark.parametrize("kind", MANIFESTS)
def test_a_pack_with_a_broken_manifest_is_named_and_left_aside(home, kind):
    broken(home, MANIFESTS[kind](home))
    entries = {entry.name: entry for entry in list_packs()}
    assert entries["tiny"].pack and entries["brainldm-mini"].pack
    assert isinstance(entries["broken"].problem, VcmError)
    assert find_pack("tiny").name == "tiny"
    for arguments in (["packs", "list"], ["packs", "list", "--json"], ["packs", "info", "tiny"]):
        ended = vcm(*arguments)
        assert ended.code == 0 and "tiny" in ended.out
        assert "broken" in ended.out or "info" in arguments
    assert vcm("packs", "info", "broken").code == 1


def test_a_pack_that_may_not_be_looked_into_is_named_and_left_aside(home, tmp_path):
    broken(home, "{}").chmod(0)
    listed = vcm_apart(tmp_path, "packs", "list", "--json", hardship=without_privileges)
    assert listed.code == 0
    problems = {entry["name"]: entry["problem"] for entry in listed.json["packs"]}
    assert "cannot be read: Permission denied" in problems["broken"]["sentence"] and problems["tiny"] is None
    info = vcm_apart(tmp_path, "packs", "info", "brainldm-mini", hardship=without_privileges)
    assert info.code == 0 and "brainldm-mini-ventricles" in info.out
    (home / "broken").chmod(0o700)


def test_a_packs_folder_that_may_not_be_looked_into_leaves_the_embedded_packs(home, tmp_path):
    home.chmod(0)
    listed = vcm_apart(tmp_path, "packs", "list", "--json", hardship=without_privileges)
    home.chmod(0o700)
    assert listed.code == 0
    states = {entry["name"]: entry["problem"] for entry in listed.json["packs"]}
    assert states["brainldm-mini"] is None and "cannot be read" in states[str(home)]["sentence"]


def test_a_home_folder_that_is_not_there_is_a_sentence(monkeypatch):
    assert vcm("packs", "info", "~nobody-at-all/x").err.startswith("vcm: There is no home folder for ~nobody-at-all/x.")
    monkeypatch.setenv("VCM_PACKS", "~nobody-at-all/x")
    assert vcm("packs", "list").code == 2


def test_the_worker_lists_the_packs_beside_a_broken_one(home):
    broken(home, MANIFESTS["half a character"](home))
    (home / os.fsdecode(b"no-unicode-\xff")).mkdir()
    client = WorkerClient(command=REAL_WORKER)
    try:
        client.send(protocol.ListPacks("a"))
        states = {entry.name: entry.state for entry in client.get(protocol.Packs, "a").packs}
    finally:
        client.close()
    assert states["tiny"] == states["brainldm-mini"] == "ready"
    assert states["broken"] == states["no-unicode-\\udcff"] == "broken"


@pytest.mark.parametrize("seed", [2**63 - 1, 2**63 - 2])
def test_seeds_above_the_largest_are_refused_before_anything_is_loaded(tmp_path, seed):
    ended = vcm("generate", "--seed", seed, "--samples", "3", "--out", tmp_path / "out")
    assert ended.code == 2 and "above the largest seed" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_loop_of_links_is_a_sentence(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for arguments in (("--condition", f"ventricles={tmp_path / 'loop'}"), ("--out", tmp_path / "loop")):
        ended = vcm("generate", "--steps", "1", *arguments)
        assert ended.code == 1 and "loop" in ended.err and "should not have" not in ended.err
