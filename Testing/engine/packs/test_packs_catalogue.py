"""What the catalogue offers, and what it may say."""

from __future__ import annotations

import json

import pytest
from sample_packs import changed
from vcm.core.errors import Code, VcmError
from vcm.packs.catalogue import CATALOGUE, find_entry, read_catalogue

GOOD = json.loads(CATALOGUE.read_text("utf-8"))


def refusal(tmp_path, content):
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps(content))
    with pytest.raises(VcmError) as caught:
        read_catalogue(path)
    assert str(path) in caught.value.sentence
    return caught.value.sentence


def test_whatever_is_downloaded_has_an_address_and_a_hash_or_must_be_trusted_in_so_many_words():
    for entry in read_catalogue():
        assert entry.licence.must_accept
        if entry.automatic:
            assert all(file.url for file in entry.files)
            assert not entry.unverifiable or entry.name == "mr-brain"
            for file in entry.unverifiable:
                assert file.url.startswith("https://")


def test_nvidia_s_generator_shows_its_terms_and_where_they_stand():
    entry = find_entry("mr-brain")
    assert entry.licence.name == "NVIDIA Open Model License" and entry.licence.must_accept
    assert entry.licence.url.startswith("https://www.nvidia.com/") and "CC BY-NC-SA" in entry.licence.summary
    assert [file.filename for file in entry.files] == ["autoencoder_v1.pt", "diff_unet_3d_rflow-mr-brain_v1.pt"]


def test_the_module_without_a_licence_says_so_and_is_never_fetched():
    entry = find_entry("vcm-semantics")
    assert not entry.automatic
    assert all(file.url is None for file in entry.files)
    assert "without a licence" in entry.licence.summary
    assert entry.unverifiable


def test_an_unknown_entry_is_told_with_what_comes_close():
    with pytest.raises(VcmError, match="Did you mean brainldm") as caught:
        find_entry("brainldn")
    assert caught.value.code is Code.PACK_MISSING


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("entries.2.files.0.url", "http://example.org/a.pt", "that is not https"),
        ("entries.0.files.0.url", ..., "lacks its address"),
        ("entries.0.files.0.url", "file:///etc/passwd", "must be a web address"),
        ("entries.0.files.0.filename", "../model.pt", "without folders"),
        ("entries.0.files.0.md5", "xyz", "32 hexadecimal digits"),
        ("entries.0.files.0.role", "control", "needs a file for autoencoder and denoiser"),
        ("entries.1.backbone", ..., "lacks the field “backbone”"),
        ("entries.0.licence.must_accept", "no", "true or false"),
        ("entries.0.name", "BrainLDM", "small letters"),
        ("format", 2, "must be 1, not 2"),
    ],
)
def test_a_wrong_catalogue_is_named_field_by_field(tmp_path, field, value, says):
    assert says in refusal(tmp_path, changed(GOOD, field, value))
