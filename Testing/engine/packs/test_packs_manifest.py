"""What a manifest may say, and the sentence for everything else."""

from __future__ import annotations

import copy
import json

import pytest
from faults import names
from sample_packs import AFFINE, BACKBONE, CONTROL, changed, make_backbone, make_control
from vcm.conditions.condition import Kind
from vcm.core.errors import Code, VcmError
from vcm.core.hashing import hash_file
from vcm.packs.manifest import BackboneManifest, ControlManifest
from vcm.packs.manifest_reading import parse_manifest, read_manifest, write_manifest


def complete(content):
    content = copy.deepcopy(content)
    for entry in content["files"].values():
        entry.setdefault("sha256", "a" * 64)
        entry.setdefault("size", 12)
    return content


def refusal(content, folder):
    with pytest.raises(VcmError) as caught:
        parse_manifest(content, folder)
    assert caught.value.code is Code.PACK_INVALID
    assert "manifest.json" in caught.value.sentence
    return caught.value.sentence


def test_a_backbone_is_read_with_its_types(tmp_path):
    manifest = read_manifest(make_backbone(tmp_path))
    assert isinstance(manifest, BackboneManifest)
    assert manifest.grid.shape == (16, 24, 32)
    assert manifest.grid.affine.tolist() == AFFINE
    assert manifest.latent.shape == (3, 4, 6, 8)
    assert (manifest.latent.packing, manifest.latent.whitened) == (1, False)
    assert manifest.process.timesteps == 900
    assert manifest.attributes[0].to_raw(63) == 0.5
    assert manifest.kind == "backbone"


@pytest.mark.parametrize(("given", "last"), [({}, 0), ({"last": 250}, 250)])
def test_a_schedule_may_say_where_sampling_ends(tmp_path, given, last):
    content = complete(BACKBONE)
    content["schedule"] |= given
    assert parse_manifest(content, tmp_path).process.last == last


@pytest.mark.parametrize("given", ["T1w", "FLAIR", "T2*"])
def test_a_backbone_may_say_which_contrast_its_images_have(tmp_path, given):
    assert parse_manifest(complete(BACKBONE), tmp_path).contrast == ""
    assert parse_manifest(complete({**BACKBONE, "contrast": given}), tmp_path).contrast == given


def test_a_schedule_without_a_way_to_go_is_refused(tmp_path):
    content = complete(BACKBONE)
    content["schedule"]["last"] = 899
    assert "cannot end at timestep 899 of 900" in refusal(content, tmp_path)


def test_a_control_is_read_with_its_conditions(tmp_path):
    manifest = read_manifest(make_control(tmp_path, "c" * 64))
    assert isinstance(manifest, ControlManifest)
    assert manifest.backbone.sha256 == "c" * 64
    assert manifest.conditions[0].kind is Kind.MASK
    assert manifest.conditions[0].classes[0].segmenter == (4,)
    assert manifest.scale_factor is None
    assert manifest.subsets


def test_random_weights_are_named_so_that_the_user_can_be_told(tmp_path):
    assert read_manifest(make_backbone(tmp_path)).untrained == ("denoiser",)


def test_writing_fills_in_hash_and_size_of_the_files(tmp_path):
    folder = make_backbone(tmp_path)
    entry = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]["denoiser"]
    assert entry["sha256"] == hash_file(folder / "denoiser.safetensors")
    assert entry["size"] == (folder / "denoiser.safetensors").stat().st_size
    assert names(folder) == [
        "autoencoder.safetensors",
        "denoiser.safetensors",
        "manifest.json",
    ]


def test_writing_a_wrong_manifest_leaves_the_old_one(tmp_path):
    folder = make_backbone(tmp_path)
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(VcmError):
        write_manifest(folder, changed(BACKBONE, "latent.shape", [3, 4, 6]))
    assert (folder / "manifest.json").read_bytes() == before


def test_writing_names_a_file_that_is_not_there(tmp_path):
    with pytest.raises(VcmError, match="autoencoder") as caught:
        write_manifest(tmp_path, BACKBONE)
    assert caught.value.code is Code.FILE_MISSING


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("latent.shape", [3, 4, 6], "“latent.shape” must be four whole numbers"),
        ("latent.shape.2", "6", 'a whole number from 1 to 65536, not "6"'),
        ("grid", ..., "lacks the field “grid”"),
        ("surprise", 1, "a field “surprise” that is not known"),
        ("name", "Tiny", "small letters"),
        ("contrast", "", "a contrast such as T1w"),
        ("contrast", "T1w\n, of me", "a contrast such as T1w"),
        ("contrast", "T" * 17, "at most 16 letters"),
        ("body_part", "brain", "a body part as DICOM names it"),
        ("name", "tiny\n", "small letters"),
        ("grid.affine.2.1", None, "must be a number, not null"),
        ("grid.affine", [[0] * 4] * 4, "invertible"),
        ("schedule.kind", "sigmoid", "no noise schedule 'sigmoid'; it knows scaled_linear, linear, cosine, flow"),
        ("schedule.beta_end", 1.5, "less than 1, not 1.5"),
        ("trained.denoiser", "yes", "true or false"),
        ("attributes.0.high", ..., "has “low” but lacks “high”"),
        ("attributes.0.high", 3, "must lie below"),
        ("attributes", [{"name": "age", "title": "Age"}] * 2, "age stands twice"),
        ("latent.packing", 3, "cannot be packed by 3"),
        ("latent.whitened", True, "whitening"),
        ("latent.shape.3", 7, "no whole multiple"),
        ("segmenter_classes", [{"value": 1, "name": "brain"}], "missing: file, network"),
        ("files.denoiser.sha256", "A" * 64, "SHA-256"),
        ("kind", "model", "kind"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected(tmp_path, field, value, says):
    assert says in refusal(changed(complete(BACKBONE), field, value), tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("conditions.0.kind", "labels", ""),
        ("conditions.0.classes.0.value", 0, "at least 1"),
        ("conditions.0.kind", "image", "which has no classes"),
        ("conditions.0.classes", [{"value": 1, "name": "a"}, {"value": 2, "name": "b"}], "lists 2"),
        ("conditions", [], "at least 1 long"),
        ("scale_factor", 0, "above 0"),
        ("backbone.sha256", "123", "SHA-256"),
        ("networks", {}, "lacks the field “variant”"),
    ],
)
def test_a_wrong_control_is_named_with_what_was_expected(tmp_path, field, value, says):
    content = changed(complete(CONTROL), field, value)
    if says:
        assert says in refusal(content, tmp_path)
    else:
        parse_manifest(content, tmp_path)


def test_two_classes_of_one_value_are_refused(tmp_path):
    classes = [{"value": 2, "name": "left"}, {"value": 2, "name": "right"}]
    content = changed(complete(CONTROL), "conditions", [{"name": "sides", "kind": "labels", "classes": classes}])
    assert "2 stands twice" in refusal(content, tmp_path)


def test_a_newer_format_asks_for_a_newer_program(tmp_path):
    sentence = refusal(changed(complete(BACKBONE), "format", 2), tmp_path)
    assert "format 2" in sentence
    assert "up to format 1" in sentence


@pytest.mark.parametrize(
    "path", ["../denoiser.safetensors", "/etc/passwd", "a/../../b", "C:\\x", ".hidden", "a//b", ""]
)
def test_a_path_out_of_the_folder_is_refused(tmp_path, path):
    assert "inside the pack's folder" in refusal(changed(complete(BACKBONE), "files.denoiser.path", path), tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = make_backbone(tmp_path / "packs")
    outside = tmp_path / "secret.safetensors"
    (folder / "denoiser.safetensors").rename(outside)
    (folder / "denoiser.safetensors").symlink_to(outside)
    with pytest.raises(VcmError, match="leads out of the pack's folder"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"format": 1,\n "kind": }', "line 2"),
        (b"", "not valid JSON"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b'{"format": NaN}', "NaN is not a finite number"),
        (b'{"format": 1e999}', "1e999 is not a finite number"),
        (b"[" * 100_000, "cannot be used as JSON"),
        (b"[1, 2]", "where an object {…} is expected"),
        (b"9" * 10_000, "cannot be used as JSON"),
    ],
)
def test_a_file_that_is_no_manifest_ends_in_a_sentence(tmp_path, text, says):
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(VcmError) as caught:
        read_manifest(tmp_path)
    assert says in caught.value.sentence
    assert str(tmp_path) in caught.value.sentence


def test_a_folder_without_manifest_is_no_pack(tmp_path):
    with pytest.raises(VcmError, match="is no pack"):
        read_manifest(tmp_path)
