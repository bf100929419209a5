"""When a layout completes what is drawn, and which control then gets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_layout
from vcm.cohort.case_conditions import CONDITION_SPECS
from vcm.core.errors import VcmError
from vcm.packs.store import find_pack
from vcm.runs.choice import choose_packs
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.layout_choice import choose_layout, hidden_labels
from vcm.runs.request_hash import hash_request


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny_layout.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def chosen(*names, strength=1.0, **options):
    """The layout's and the control's names, and what is said of it."""
    files = tuple(ConditionFile(name, Path("mask.nii.gz"), strength=strength) for name in names)
    job = GenerateJob(Path("out"), files, pack="tiny", **options)
    layout, finding = choose_layout(job, *choose_packs(job.pack, job.control, names))
    if layout is not None:
        assert finding is None
        return (layout.pack.name, layout.control.name), layout.words
    return None, f"{finding.level.value}: {finding.sentence}" if finding else ""


def without(packs, *names):
    for name in names:
        (packs / name).rename(packs / f".{name}")


@pytest.mark.usefixtures("packs")
def test_a_mask_of_ventricles_becomes_a_part_of_the_label_map():
    assert chosen("ventricles") == (
        ("tiny-layout", "tiny-semantics"), "The layout tiny-layout completes the head, which tiny-semantics follows."
    )  # fmt: skip


@pytest.mark.usefixtures("packs")
def test_a_named_control_is_kept_and_takes_what_it_can():
    assert chosen("ventricles", control="anatomy")[0] == ("tiny-layout", "tiny-anatomy")
    assert chosen("semantics", control="semantics")[0] == ("tiny-layout", "tiny-semantics")
    assert chosen("ventricles", control="ventricles") == (None, ""), "nobody asked, and no other choice is open"
    nothing, words = chosen("ventricles", control="ventricles", layout="tiny-layout")
    assert nothing is None
    assert words == "note: The rest of the head is not completed: tiny-ventricles takes only what is given."
    given_way = chosen("ventricles", control="ventricles", control_may_give_way=True)[0]
    assert given_way == ("tiny-layout", "tiny-semantics")


@pytest.mark.usefixtures("packs")
def test_beside_an_image_a_head_is_completed_only_where_that_is_asked_for():
    """A layout does not look at the skull, and a brain of chance would not fit it."""
    assert chosen("ventricles", "skull") == (None, "")
    assert chosen("ventricles", "skull", layout="tiny-layout")[0] == ("tiny-layout", "tiny-anatomy")


@pytest.mark.usefixtures("packs")
def test_what_acts_in_part_of_its_strength_keeps_its_control():
    assert chosen("brain", strength=0.5)[0] == ("tiny-layout", "tiny-anatomy")
    for options in ({}, {"control": "ventricles", "control_may_give_way": True}):
        found, words = chosen("ventricles", strength=0.8, **options)
        assert found is None and words.startswith("warning: The rest of the head is not completed: a condition has")
    assert chosen("ventricles", strength=0.8, control="ventricles") == (None, "")


def test_lesions_are_no_part_of_a_label_map_that_does_not_show_them(packs):
    tiny_layout.write_control(packs, "tiny-lesions", [{"name": "lesions", **CONDITION_SPECS["lesions"]}])
    assert chosen("lesions") == (None, ""), "there is no other control to choose"
    assert "tiny-lesions takes only what is given" in chosen("lesions", layout="tiny-layout")[1]
    assert hidden_labels(find_pack("tiny-semantics").control) == (10,)
    assert hidden_labels(find_pack("tiny-lesions").control) == ()


def test_a_structure_that_no_label_map_shows_is_not_lost_to_a_control_by_one(packs):
    tumour = {"name": "tumour", "kind": "mask"}
    tiny_layout.write_control(packs, "tiny-tumour", [{"name": "ventricles", **CONDITION_SPECS["ventricles"]}, tumour])
    assert chosen("ventricles", "tumour") == (None, "")


@pytest.mark.parametrize("beside", [(), ({"value": 2, "name": "tumour"},)], ids=["known", "one unknown"])
def test_a_label_map_with_a_structure_that_no_other_shows_is_not_lost_to_a_control_by_one(packs, beside):
    own = {
        "name": "found",
        "kind": "labels",
        "classes": [{"value": 1, "name": "ventricles", "segmenter": [4]}, *beside],
    }
    tiny_layout.write_control(packs, "tiny-found", [{"name": "ventricles", **CONDITION_SPECS["ventricles"]}, own])
    assert chosen("ventricles", "found")[0] == (None if beside else ("tiny-layout", "tiny-semantics"))


@pytest.mark.usefixtures("packs")
@pytest.mark.parametrize(
    ("names", "options"),
    [(("ventricles",), {"layout": "off"}), ((), {}), (("skull",), {"control": "anatomy"})],
    ids=["off", "nothing given", "an image alone"],
)
def test_else_nothing_is_completed_and_nothing_is_said(names, options):
    assert chosen(*names, **options) == (None, "")


def test_without_a_layout_for_this_model_nothing_is_completed(packs):
    without(packs, "tiny-layout")
    assert chosen("ventricles") == (None, "")
    tiny_layout.write_layout(packs / "other-layout", ("brainldm",))
    assert chosen("ventricles") == (None, "")
    assert chosen("ventricles", layout="other-layout")[0] == ("other-layout", "tiny-semantics")
    assert chosen("ventricles", layout="other-layout")[1].endswith("It was not made for tiny.")


def test_where_there_is_no_label_map_the_anatomy_takes_the_brain(packs):
    without(packs, "tiny-semantics")
    assert chosen("ventricles")[0] == ("tiny-layout", "tiny-anatomy")


@pytest.mark.usefixtures("packs")
def test_a_layout_that_is_named_must_be_one():
    with pytest.raises(VcmError, match="tiny-anatomy is a control for tiny; a layout was expected here"):
        chosen("ventricles", layout="tiny-anatomy")
    with pytest.raises(VcmError, match=r"There is no pack tiny-layuot\. Did you mean tiny-layout"):
        chosen("ventricles", layout="tiny-layuot")
    with pytest.raises(VcmError, match="tiny-layout is a layout; a backbone was expected here"):
        choose_packs("tiny-layout", None, ())


def test_a_layout_changes_what_results_are_known_by(packs, tmp_path):
    (tmp_path / "mask.nii.gz").write_bytes(b"mask")
    job = GenerateJob(Path("out"), (ConditionFile("ventricles", tmp_path / "mask.nii.gz"),), pack="tiny", seed=1)
    both = choose_packs("tiny", None, ["ventricles"])
    layout, _ = choose_layout(job, *both)
    plain, completed = hash_request(job, *both), hash_request(job, *both, layout)
    assert plain != completed
    (packs / "tiny-layout").rename(packs / ".former")
    tiny_layout.write_layout(packs / "tiny-layout", seed=9)
    assert hash_request(job, *both, choose_layout(job, *both)[0]) not in (plain, completed)
