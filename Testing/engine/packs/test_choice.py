"""Which packs a run takes where the user names some, one or none of them."""

from __future__ import annotations

import json
import shutil

import pytest
import tiny
from vcm.core.errors import Code, VcmError
from vcm.core.hashing import hash_file
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.store import default_backbone
from vcm.runs.choice import choose_packs

MASK, IMAGE = tiny.CONDITIONS
LABELS = {"name": "regions", "kind": "labels", "classes": [{"value": 1, "name": "left"}, {"value": 2, "name": "right"}]}


@pytest.fixture(scope="module")
def home(tiny_packs, tmp_path_factory):
    """`tiny` with four controls besides `tiny-both`, and another backbone of which only a control is at hand."""
    home = tmp_path_factory.mktemp("choice")
    shutil.copytree(tiny_packs, home, dirs_exist_ok=True)
    sha256 = hash_file(home / "tiny" / "denoiser.safetensors")
    for name, conditions, options in (
        ("tiny-mask", [MASK], {}),
        ("tiny-a-draft", [MASK], {"trained": {"control": False}}),
        ("tiny-whole", [LABELS, IMAGE], {"subsets": False}),
        ("foreign", [MASK], {"backbone": {"name": "elsewhere", "sha256": "a" * 64}}),
    ):
        (home / name).mkdir()
        (home / name / "control.safetensors").write_bytes(b"never read here")
        content = json.loads((home / "tiny-both" / "manifest.json").read_text())
        write_manifest(home / name, {**content, "name": name, "conditions": conditions, "trained": {"control": True}}
                       | {"backbone": {"name": "tiny", "sha256": sha256}} | options)  # fmt: skip
    return home


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(home))


def chosen(pack, control, *conditions):
    backbone, steering = choose_packs(pack, control, conditions)
    return backbone.name, steering.name if steering else None


def refusal(pack, control, *conditions):
    with pytest.raises(VcmError) as caught:
        choose_packs(pack, control, conditions)
    return caught.value


def test_without_a_name_it_is_the_embedded_backbone_and_without_a_condition_no_control():
    assert chosen(None, None) == (default_backbone(), None)
    assert chosen("tiny", None) == ("tiny", None)


def test_the_control_that_takes_the_conditions_and_the_fewest_besides_is_taken():
    assert chosen("tiny", None, "ventricles") == ("tiny", "tiny-mask")
    assert chosen("tiny", None, "skull", "ventricles") == ("tiny", "tiny-both")
    assert chosen("tiny", None, "skull") == ("tiny", "tiny-both")
    assert chosen("tiny", None, "skull", "regions") == ("tiny", "tiny-whole")


def test_a_trained_control_goes_before_an_untrained_one_of_an_earlier_name():
    assert chosen("tiny", None, "ventricles")[1] == "tiny-mask"
    assert chosen("tiny", "tiny-a-draft", "ventricles")[1] == "tiny-a-draft"


def test_a_control_that_needs_all_its_conditions_is_not_taken_for_a_part_of_them():
    error = refusal("tiny", None, "regions")
    assert error.code is Code.CONDITION
    assert "No control of tiny takes regions" in error.sentence and "tiny-whole takes regions, skull" in error.sentence
    error = refusal("tiny", "whole", "regions")
    assert "tiny-whole needs all of its conditions; skull is missing" in error.sentence


def test_a_control_goes_by_its_name_with_and_without_the_backbones_and_by_its_folder(home):
    for name in ("both", "tiny-both", home / "tiny-both"):
        assert chosen("tiny", str(name), "ventricles") == ("tiny", "tiny-both")
    assert chosen(str(home / "tiny"), "both") == ("tiny", "tiny-both")


def test_a_condition_that_nobody_takes_is_told_with_those_that_are_taken():
    error = refusal("tiny", None, "ventricels")
    assert "takes ventricels: " in error.sentence and "tiny-both takes ventricles, skull" in error.sentence
    assert "takes ventricles, skull, but not ventricels" in refusal("tiny", "both", "ventricels").sentence


def test_a_control_of_another_backbone_is_refused_with_the_backbones_name():
    error = refusal("tiny", "foreign", "ventricles")
    assert error.code is Code.PACK_INVALID
    assert (
        "was trained for the backbone elsewhere, not for tiny" in error.sentence and "--pack elsewhere" in error.remedy
    )


def test_a_backbone_and_a_control_in_each_others_place_are_refused():
    assert "is a control for tiny; a backbone was expected" in refusal("tiny-both", None).sentence
    assert "is a backbone; a control was expected" in refusal("tiny", default_backbone()).sentence


def test_a_name_that_is_no_packs_is_told_with_close_ones():
    error = refusal("tinny", None)
    assert error.code is Code.PACK_MISSING
    assert "tinny" in error.sentence and "tiny" in error.sentence.split("Did you mean")[1]
    assert refusal("tiny", "bothh").code is Code.PACK_MISSING
