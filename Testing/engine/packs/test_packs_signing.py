"""Signatures of packs: made and checked with keys that OpenSSL made, and every way in which they must fail."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from command_line import vcm
from sample_packs import make_backbone

pytest.importorskip("model_signing", reason="the extra `sign` is not installed")
CURVE = ("ecparam", "-name", "prime256v1", "-genkey", "-noout")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        openssl(*CURVE, "-out", folder / f"{name}.pem")
        openssl("ec", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    openssl("ec", "-in", folder / "mine.pem", "-aes256", "-passout", "pass:secret", "-out", folder / "locked.pem")
    openssl("genrsa", "-out", folder / "rsa.pem", "2048")
    (folder / "text.pem").write_text("no key")
    return folder


@pytest.fixture(scope="module")
def signed_home(keys, tmp_path_factory):
    home = tmp_path_factory.mktemp("signed")
    folder = make_backbone(home)
    (folder / "README.md").write_text("A card.")
    os.environ["VCM_PACKS"], before = str(home), os.environ.get("VCM_PACKS")
    try:
        assert vcm("packs", "sign", "tiny", "--key", keys / "mine.pem").code == 0
    finally:
        os.environ.pop("VCM_PACKS") if before is None else os.environ.update(VCM_PACKS=before)
    return home


@pytest.fixture
def pack(signed_home, tmp_path, monkeypatch):
    """A copy of a pack with its signature; every attempt to reach a network fails the test."""
    shutil.copytree(signed_home, tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a network was asked for"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    return tmp_path / "packs" / "tiny"


def check(keys, key="mine.pub"):
    return vcm("packs", "verify", "tiny", "--key", keys / key)


def test_what_was_signed_is_verified_under_any_place(pack, keys, tmp_path, monkeypatch):
    assert check(keys).code == 0 and "signed with this key" in check(keys).out
    (tmp_path / "packs").rename(tmp_path / "moved")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "moved"))
    assert check(keys).code == 0


def test_a_signature_names_no_folder_of_its_maker(pack):
    import base64
    import json

    payload = base64.b64decode(json.loads((pack / "model.sig").read_text())["dsseEnvelope"]["payload"]).decode()
    assert "README.md" in payload and "manifest.json" in payload
    assert "/" not in payload.replace("https://", "").replace("in-toto.io/Statement/v1", "").replace(
        "model_signing/signature/v1.0", ""
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: (p / "README.md").write_text("Another card."), "is not as it was signed: altered: README.md"),
        (lambda p: (p / "extra.txt").write_text("x"), "added: extra.txt"),
        (lambda p: (p / ".gitignore").write_text("x"), "added: .gitignore"),
        (lambda p: (p / "README.md").unlink(), "missing: README.md"),
        (lambda p: (p / "link").symlink_to("README.md"), "holds a link"),
        (lambda p: (p / "model.sig").unlink(), "is not signed: it has no model.sig"),
        (lambda p: (p / "model.sig").write_text(""), "damaged or forged"),
        (lambda p: (p / "model.sig").write_text("[]"), "damaged or forged"),
        (lambda p: (p / "model.sig").write_text("[" * 100_000), "damaged or forged"),
        (lambda p: (p / "model.sig").write_bytes(b"\0\xff"), "damaged or forged"),
    ],
    ids=["altered", "added", "added for git", "missing", "link", "unsigned", "empty", "list", "deep", "binary"],
)
def test_every_change_after_signing_has_its_sentence(pack, keys, change, said):
    change(pack)
    ended = check(keys)
    assert ended.code == 1 and said in ended.err and "Traceback" not in ended.err


def test_a_forged_payload_is_not_believed(pack, keys):
    """The altered file's hash put into the payload: only the signature tells."""
    import base64
    import hashlib
    import json

    content = json.loads((pack / "model.sig").read_text())
    payload = base64.b64decode(content["dsseEnvelope"]["payload"]).decode()
    old, new = (hashlib.sha256(text).hexdigest() for text in (b"A card.", b"B card."))
    assert old in payload
    content["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(old, new).encode()).decode()
    (pack / "README.md").write_text("B card.")
    (pack / "model.sig").write_text(json.dumps(content))
    ended = check(keys)
    assert ended.code == 1 and "damaged or forged" in ended.err


@pytest.mark.parametrize(
    ("key", "said", "code"),
    [
        ("other.pub", "was signed with another key", 1),
        ("text.pem", "is no public key", 2),
        ("mine.pem", "is no public key", 2),
        ("rsa.pem", "is no public key", 2),
        ("nosuch.pub", "There is no file", 1),
    ],
)
def test_another_key_verifies_nothing(pack, keys, key, said, code):
    ended = check(keys, key)
    assert ended.code == code and said in ended.err


@pytest.mark.parametrize(
    ("key", "said"),
    [("text.pem", "is no private key"), ("mine.pub", "is no private key"), ("rsa.pem", "is no private key"),
     ("locked.pem", "is protected by a passphrase"), ("nosuch.pem", "There is no file")],
)  # fmt: skip
def test_what_is_no_private_key_signs_nothing(pack, keys, key, said):
    before = (pack / "model.sig").read_bytes()
    ended = vcm("packs", "sign", "tiny", "--key", keys / key)
    assert ended.code in (1, 2) and said in ended.err
    assert (pack / "model.sig").read_bytes() == before


def test_a_locked_key_signs_with_its_passphrase_and_a_new_signature_replaces_the_old(pack, keys, monkeypatch):
    (pack / "README.md").write_text("A better card.")
    monkeypatch.setenv("VCM_KEY_PASSPHRASE", "secret")
    assert vcm("packs", "sign", "tiny", "--key", keys / "locked.pem").code == 0
    assert check(keys).code == 0


def test_a_damaged_pack_and_one_of_the_programs_own_are_not_signed(pack, keys):
    weights = pack / "denoiser.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    ended = vcm("packs", "sign", "tiny", "--key", keys / "mine.pem")
    assert ended.code == 1 and "was changed" in ended.err
    assert vcm("packs", "sign", "brainldm-mini", "--key", keys / "mine.pem").code == 2
    assert vcm("packs", "verify", "--key", keys / "mine.pub").code == 2


def test_without_the_library_there_is_a_sentence(pack, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "model_signing", None)
    for arguments in (("sign", "tiny", "--key", keys / "mine.pem"), ("verify", "tiny", "--key", keys / "mine.pub")):
        ended = vcm("packs", *arguments)
        assert ended.code == 2 and "pip install" in ended.err and "[sign]" in ended.err
    assert vcm("packs", "verify", "tiny").code == 0
