"""Signatures of packs with a key of their publisher's, by the OpenSSF model-signing library; without any network."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_bytes
from vcm.outputs.atomic_files import atomic_path
from vcm.outputs.claims import WORK
from vcm.outputs.record import RECORD
from vcm.packs.store import Pack, verify

if TYPE_CHECKING:
    from model_signing.hashing import Config

SIGNATURE = "model.sig"
"""The signature's name in a pack's folder, as the library's own command calls it. It covers every other file there."""
PASSPHRASE = "VCM_KEY_PASSPHRASE"
"""The environment variable for the passphrase of a private key."""


MOST_KEY = 1 << 20
"""Bytes of a key's file."""


def sign_pack(pack: Pack, key: Path) -> Path:
    """Sign every file of a pack's folder with a private key (elliptic curve, PEM); gives the signature's file."""
    if pack.embedded:
        raise VcmError(Code.BAD_REQUEST, f"{pack.name} comes with the program and is not signed by its users.")
    signing = _library().signing
    verify(pack)
    file, passphrase = _key(key), os.environ.get(PASSPHRASE, "")
    try:
        locked = b"ENCRYPTED" in read_bytes(file, MOST_KEY)
        password = passphrase.encode() if locked and passphrase else None
        config = signing.Config().use_elliptic_key_signer(private_key=file, password=password)
    except Exception as error:
        encrypted = "password" in str(error).lower()
        what = "is protected by a passphrase, and the right one was not given" if encrypted else "is no private key"
        raise VcmError(
            Code.BAD_REQUEST,
            f"{key} {what}.",
            f"Set {PASSPHRASE}."
            if encrypted
            else "Give a private key of an elliptic curve in PEM; docs/packs.md shows how to make one.",
        ) from None
    target = pack.folder / SIGNATURE
    with atomic_path(target) as temporary:
        try:
            config.set_hashing_config(_hashing()).sign(pack.folder, temporary)
        except OSError:
            raise
        except Exception as error:
            raise VcmError(
                Code.PACK_INVALID, f"The pack {pack.name} cannot be signed: {_first_line(error)}.", _ONLY_FILES
            ) from error
    return target


def verify_signature(pack: Pack, key: Path) -> None:
    """Raise a sentence unless every file of a pack is as it was when the owner of this public key signed it."""
    verifying = _library().verifying
    file = _key(key)
    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=file)
    except Exception:
        raise VcmError(
            Code.BAD_REQUEST, f"{key} is no public key.", "Give the publisher's public key, in PEM."
        ) from None
    signature = pack.folder / SIGNATURE
    if not signature.is_file():
        raise VcmError(
            Code.PACK_UNSAFE,
            f"The pack {pack.name} is not signed: it has no {SIGNATURE}.",
            "Ask its publisher for the signature.",
            file=str(signature),
        )
    try:
        config.set_hashing_config(_hashing()).verify(pack.folder, signature)
    except Exception as error:
        raise _refused(pack, key, error) from error


_ONLY_FILES = "A pack's folder may hold ordinary files and folders only."


def _library() -> Any:
    try:
        import model_signing
        import model_signing.signing
        import model_signing.verifying
    except ImportError:
        raise VcmError(
            Code.BAD_REQUEST,
            "Signatures need the package model-signing, which is not installed.",
            "Install it in the repository's folder: pip install '.[sign]'",
        ) from None
    return model_signing


def _hashing() -> Config:
    from model_signing import hashing

    # Git's files are left out by default: what is not signed must not be there, but for our own notes of a folder.
    return hashing.Config().set_ignored_paths(paths=[SIGNATURE, RECORD, WORK], ignore_git_paths=False)


def _key(path: Path) -> Path:
    if not path.is_file():
        raise VcmError(Code.FILE_MISSING, f"There is no file {path}.", "Check the path given with --key.")
    return path


def _refused(pack: Pack, key: Path, error: Exception) -> VcmError:
    again = "Get the pack again from its publisher."
    words = str(error)
    if isinstance(error, OSError):
        return VcmError(Code.FILE_UNREADABLE, f"The pack {pack.name} cannot be read: {error.strerror}.", again)
    if "Key mismatch" in words:
        sentence = f"The pack {pack.name} was signed with another key than {key}."
        return VcmError(Code.PACK_UNSAFE, sentence, "Check that the key is the publisher's, and whose pack this is.")
    if "Signature mismatch" in words:
        changes = [
            f"{what}: {', '.join(sorted(found))}"
            for what, found in (
                ("altered", re.findall(r"Hash mismatch for '([^']*)'", words)),
                ("added", _listed("Extra files", words)),
                ("missing", _listed("Missing files", words)),
            )
            if found
        ]
        sentence = f"The pack {pack.name} is not as it was signed: {'; '.join(changes) or 'its files differ'}."
        return VcmError(Code.PACK_UNSAFE, sentence, again)
    if "symlink" in words:
        return VcmError(Code.PACK_UNSAFE, f"The pack {pack.name} holds a link, which no signature covers.", _ONLY_FILES)
    return VcmError(Code.PACK_UNSAFE, f"The signature of the pack {pack.name} is damaged or forged.", again)


def _listed(kind: str, words: str) -> list[str]:
    found = re.search(rf"{kind} found in model '[^']*': ([^\"]*)|{kind} in model '[^']*': ([^\"]*)", words)
    return [name.strip() for name in (found[1] or found[2] or "").split(",")] if found else []


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:200].rstrip(".")
