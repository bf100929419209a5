"""`vcm evaluate PACK --cases COHORT`: what is measured, what is kept, and every fault on the way."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import time

import evaluation_packs as packs
import numpy as np
import pytest
import tiny
from command_line import Apart, RoomFor, vcm, vcm_apart
from faults import told
from vcm.cohort.case_conditions import condition_spec
from vcm.cohort.files import read_cases
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.evaluation.control_evaluation import condition_sets
from vcm.evaluation.evaluated_case import read_case
from vcm.outputs.record import RECORD
from vcm.packs.store import find_pack
from vcm.volumes.volume_files import read_volume, write_volume


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A packs' folder and a cohort of three cases; nobody changes them."""
    home = tmp_path_factory.mktemp("evaluation")
    return packs.write_packs(home / "packs"), packs.write_cohort(home / "unseen")


@pytest.fixture(scope="module")
def finished(places, tmp_path_factory):
    """An evaluation of all three cases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(places[0]))
        out = tmp_path_factory.mktemp("finished") / "out"
        ended = packs.evaluate(places[1], out)
    assert ended.code == 0, ended
    return out


@pytest.fixture
def cohort(places, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(places[0]))
    return places[1]


@pytest.fixture
def own_cohort(cohort, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(cohort, tmp_path / "unseen")
    return tmp_path / "unseen"


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def value(out, case, images, conditions, structure, measure):
    (row,) = [
        r
        for r in rows_of(out / "cases.csv")
        if (r["case"], r["images"], r["conditions"], r["structure"], r["measure"])
        == (case, images, conditions, structure, measure)
    ]
    return row["value"]


def test_every_case_is_measured_in_every_way(finished):
    rows = rows_of(finished / "cases.csv")
    made = {(r["images"], r["conditions"]) for r in rows}
    assert made == {
        ("controlled", "ventricles+skull"), ("controlled", "ventricles"), ("controlled", "skull"),
        ("uncontrolled", ""), ("reconstruction", ""),
    }  # fmt: skip
    for case in ("00000", "00001", "00002"):
        for which in made:
            mine = [r for r in rows if (r["case"], r["images"], r["conditions"]) == (case, *which)]
            assert {r["measure"] for r in mine} >= {"dice", "assd", "obtained_ml", "given_mse", "ssim", "psnr", "lpips"}
            assert len({(r["structure"], r["measure"]) for r in mine}) == len(mine)


def test_the_numbers_are_those_that_vcm_generate_reports(finished, cohort, tmp_path):
    """From the same noise, attributes and conditions, by way of files and another door."""
    folder = cohort / "cases" / "00001"
    raw = next(r for r in rows_of(cohort / "cases.csv") if r["case"] == "00001")
    given = [
        part
        for n in ("sex", "age", "ventricular_volume", "brain_volume")
        for part in ("--attribute", f"{n}.raw={raw[n]}")
    ]
    ended = vcm(
        "generate", "--pack", "tiny", "--condition", f"ventricles={folder / 'labels.nii.gz'}:4", "--condition",
        f"skull={folder / 'skull.nii.gz'}", "--seed", 1, "--steps", 2, "--uncontrolled", "--device", "cpu", *given,
        "--out", tmp_path / "made", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended
    sample = ended.json["samples"][0]
    for images, conditions, found in (
        ("controlled", "ventricles+skull", sample["alignment"]),
        ("uncontrolled", "", sample["uncontrolled"]["alignment"]),
    ):
        (structure,) = found["classes"]
        for measure, ours in (("dice", "dice"), ("hd95_mm", "hd95"), ("obtained_ml", "obtained_ml")):
            mine = value(finished, "00001", images, conditions, "ventricles", ours)
            assert (float(mine) if mine else None) == (pytest.approx(structure[measure], abs=2e-6) if mine else None)
        (skull,) = found["images"]
        mine = value(finished, "00001", images, conditions, "skull", "given_mse")
        assert float(mine) == pytest.approx(skull["mse"], rel=1e-3, abs=2e-6)


def test_the_summary_is_the_mean_over_the_cases(finished):
    (row,) = [
        r for r in rows_of(finished / "summary.csv")
        if (r["conditions"], r["structure"], r["measure"]) == ("skull", "image", "mae")
    ]  # fmt: skip
    for images, conditions in (("controlled", "skull"), ("uncontrolled", ""), ("reconstruction", "")):
        found = [float(value(finished, f"0000{n}", images, conditions, "image", "mae")) for n in range(3)]
        assert float(row[images]) == pytest.approx(np.mean(found), rel=1e-12)
        assert float(row[f"{images}_low"]) < float(row[images]) < float(row[f"{images}_high"])
        assert row[f"{images}_n"] == "3"
    assert row["cases"] == "unseen"


def test_the_summary_says_what_was_not_measured_and_how_far_to_trust_the_rest(finished):
    words = (finished / "summary.md").read_text("utf-8")
    assert "needs the weights of Inception v3, which you download; give --features inception=FILE" in words
    assert "not FID" in words and "biased upwards" in words
    data = json.loads((finished / "summary.json").read_text("utf-8"))
    assert data["cases"] == 3 and data["control"] == "tiny-both" and not data["left_out"]


def test_every_row_of_the_summary_has_a_cell_in_every_column(finished):
    tables = (finished / "summary.md").read_text("utf-8").split("\n\n")
    tables = [table.splitlines() for table in tables if table.startswith("|")]
    assert any("obtained − asked for" in row for table in tables for row in table)
    for table in tables:
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in table} == {table[0].count("|")}


def test_pictures_are_left_and_only_the_first_cases_images(finished):
    for name in ("volumes.png", "cases.png", "dice.png"):
        assert (finished / name).stat().st_size > 3000
    kept = {path.name for path in (finished / "images").iterdir()}
    assert "00000-controlled-ventricles+skull.nii.gz" in kept and "00000-controlled-skull.nii.gz" not in kept


def test_kept_images_are_those_that_were_measured(cohort, tmp_path):
    assert packs.evaluate(cohort, tmp_path / "out", "--count", 1, "--keep-images", "--subsets", "skull").code == 0
    made = read_volume(tmp_path / "out" / "images" / "00000-controlled-skull.nii.gz")
    case = read_volume(cohort / "cases" / "00000" / "image.nii.gz")
    assert made.grid.same_as(tiny.GRID)
    mae = value(tmp_path / "out", "00000", "controlled", "skull", "image", "mae")
    assert float(mae) == pytest.approx(np.abs(made.array - case.array).mean(), rel=1e-5)


def test_subsets_are_those_the_control_takes(places, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(places[0]))
    manifest = find_pack("tiny-both").control
    assert condition_sets(manifest, "full") == [("ventricles", "skull")]
    assert condition_sets(manifest, "skull+ventricles, skull,skull") == [("ventricles", "skull"), ("skull",)]
    with pytest.raises(VcmError, match="names lesions"):
        condition_sets(manifest, "lesions")


def test_a_control_that_needs_all_its_conditions_is_measured_with_all(tmp_path, cohort, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(packs.write_packs(tmp_path / "packs", subsets=False)))
    assert packs.evaluate(cohort, tmp_path / "out", "--count", 1).code == 0
    assert {r["conditions"] for r in rows_of(tmp_path / "out" / "cases.csv")} == {"ventricles+skull", ""}
    told(packs.evaluate(cohort, tmp_path / "two", "--subsets", "skull"), "needs all of its conditions", code=2)


def test_a_label_map_is_measured_class_by_class_and_in_the_mean(tmp_path, cohort, monkeypatch):
    home = packs.write_packs(tmp_path / "packs")
    packs.write_semantics(home)
    monkeypatch.setenv("VCM_PACKS", str(home))
    out = tmp_path / "out"
    assert packs.evaluate(cohort, out, "--count", 2, pack="tiny-semantics").code == 0
    rows = [r for r in rows_of(out / "cases.csv") if r["images"] == "reconstruction" and r["case"] == "00001"]
    asked = {r["structure"]: float(r["value"]) for r in rows if r["measure"] == "requested_ml"}
    labels = read_volume(cohort / "cases" / "00001" / "labels.nii.gz")
    for name, label in (("white matter", 1), ("ventricles", 4), ("extra-ventricular CSF", 7), ("amygdala", 6)):
        ml = (labels.array == label).sum() * labels.grid.voxel_ml
        assert asked[f"semantics: {name}"] == pytest.approx(ml)
    assert len(asked) == 8
    (mean,) = [r for r in rows if (r["structure"], r["measure"]) == ("semantics: mean", "dice")]
    known = [float(r["value"]) for r in rows if r["measure"] == "dice" and r["value"] and r is not mean]
    assert (
        float(mean["value"]) == pytest.approx(np.mean(known)) and "of 8 classes could not be measured" in mean["remark"]
    )


def test_a_pack_without_segmenter_is_measured_by_its_images(tmp_path, cohort, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(packs.write_packs(tmp_path / "packs", segmenter=False)))
    ended = packs.evaluate(cohort, tmp_path / "out", "--count", 2)
    assert ended.code == 0 and "has no segmenter" in ended.err
    rows = rows_of(tmp_path / "out" / "cases.csv")
    dice = [r for r in rows if r["measure"] == "dice"]
    assert dice and all(r["value"] == "" and "no segmenter" in r["remark"] for r in dice)
    assert all(r["value"] for r in rows if r["measure"] in ("mae", "given_mse"))
    assert "the pack has no segmenter of its own" in (tmp_path / "out" / "summary.md").read_text("utf-8")


def test_a_control_made_for_another_backbone_is_refused(tmp_path, cohort, monkeypatch):
    home = packs.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(home))
    packs.change(home / "tiny-both", backbone={"name": "tiny", "sha256": "0" * 64})
    told(packs.evaluate(cohort, tmp_path / "out"), "was trained for the backbone tiny")
    assert not (tmp_path / "out").exists()


def test_a_control_for_what_no_case_holds_is_refused(tmp_path, cohort, monkeypatch):
    home = packs.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(home))
    vessels = {"name": "vessels", "kind": "mask", "classes": [{"value": 1, "name": "vessels"}]}
    packs.change(home / "tiny-both", conditions=[vessels, packs.CONDITIONS[1]])
    told(packs.evaluate(cohort, tmp_path / "out"), "takes vessels, which the cases of a cohort do not hold")


def change_image(cohort, case, change, part="image"):
    path = cohort / "cases" / case / f"{part}.nii.gz"
    volume = read_volume(path)
    write_volume(path, Volume(change(volume.array.copy()), volume.grid))


def with_nan(cohort):
    path = cohort / "cases" / "00001" / "image.nii.gz"
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    image[3, 4, 5] = float("nan")
    sitk.WriteImage(image, str(path))


def elsewhere(cohort):
    path = cohort / "cases" / "00001" / "labels.nii.gz"
    volume = read_volume(path)
    moved = volume.grid.affine.copy()
    moved[0, 3] += 4
    write_volume(path, Volume(volume.array, type(volume.grid)(volume.grid.shape, moved)))


FAULTS = {
    "cut short": (lambda c: (c / "cases/00001/image.nii.gz").write_bytes(b"\x1f\x8b\x08cut"), "image.nii.gz"),
    "a NaN": (with_nan, "not a number"),
    "elsewhere": (elsewhere, "lies elsewhere"),
    "no skull": (lambda c: (c / "cases/00001/skull.nii.gz").unlink(), "skull.nii.gz"),
    "no folder": (lambda c: shutil.rmtree(c / "cases/00001"), "image.nii.gz"),
    "in 0-255": (lambda c: change_image(c, "00001", lambda a: a * 255), "not within 0 and 1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_case_is_left_out_by_name(fault, own_cohort, tmp_path):
    damage, words = FAULTS[fault]
    damage(own_cohort)
    out = tmp_path / "out"
    ended = packs.evaluate(own_cohort, out, "--subsets", "full", "--count", 2)
    assert ended.code == 0 and "case 00001 is left out" in ended.err and words in ended.err, ended.err
    assert {r["case"] for r in rows_of(out / "cases.csv")} == {"00000"}
    assert "- 00001: " in (out / "summary.md").read_text("utf-8")


def test_a_mended_case_is_measured_as_if_nothing_had_happened(own_cohort, cohort, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    FAULTS["cut short"][0](own_cohort)
    assert "case 00001 is left out" in packs.evaluate(own_cohort, out).err
    assert packs.tables(out) != packs.tables(finished)
    shutil.copytree(cohort, own_cohort, dirs_exist_ok=True)
    assert packs.evaluate(own_cohort, out).code == 0
    assert packs.tables(out) == packs.tables(finished)


def test_a_cohort_of_bad_cases_alone_is_an_error(own_cohort, tmp_path):
    for case in ("00000", "00001", "00002"):
        (own_cohort / "cases" / case / "labels.nii.gz").unlink()
    told(packs.evaluate(own_cohort, tmp_path / "out"), "No case could be measured", "labels.nii.gz")


def test_a_head_without_lesions_says_nothing_of_a_control_by_lesions(own_cohort):
    change_image(own_cohort, "00001", lambda a: np.where(a == 10, 1, a).astype(np.uint8), part="labels")
    (entry,) = [case for case in read_cases(own_cohort) if case.name == "00001"]
    lesions, ventricles = condition_spec("lesions"), condition_spec("ventricles")
    with pytest.raises(VcmError, match="Case 00001 has no lesions"):
        read_case(entry, [lesions], tiny.GRID)
    assert len(read_case(entry, [lesions, ventricles], tiny.GRID).conditions) == 2


def test_a_case_without_ventricles_has_no_dice_and_does_not_lower_the_mean(own_cohort, finished, tmp_path):
    change_image(own_cohort, "00001", lambda a: np.where(a == 4, 1, a).astype(np.uint8), part="labels")
    out = tmp_path / "out"
    assert packs.evaluate(own_cohort, out).code == 0
    assert value(out, "00001", "controlled", "ventricles", "ventricles", "requested_ml") == "0.0"
    assert value(out, "00001", "controlled", "ventricles", "ventricles", "hd95") == ""
    (row,) = [
        r for r in rows_of(out / "summary.csv")
        if (r["conditions"], r["structure"], r["measure"]) == ("ventricles", "ventricles", "hd95")
    ]  # fmt: skip
    assert int(row["controlled_n"]) < 3 and "1 of the cases" in row["remark"]


def test_the_same_command_again_makes_nothing_anew_and_the_same_tables(finished, cohort, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    before = packs.tables(out), {p.name: p.stat().st_mtime_ns for p in (out / "cases").iterdir()}
    ended = packs.evaluate(cohort, out)
    assert "3 of 3 cases were measured before" in ended.err
    assert (packs.tables(out), {p.name: p.stat().st_mtime_ns for p in (out / "cases").iterdir()}) == before


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_a_damaged_result_is_made_again(ending, finished, cohort, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    path = out / "cases" / f"00001.{ending}"
    path.write_bytes(path.read_bytes()[:40])
    ended = packs.evaluate(cohort, out)
    assert "2 of 3 cases were measured before" in ended.err
    assert packs.tables(out) == packs.tables(finished)


def test_other_settings_need_another_folder(finished, cohort, tmp_path):
    out = shutil.copytree(finished, tmp_path / "out")
    told(packs.evaluate(cohort, out, "--seed", 5), "another seed: 0, not 5", code=2)
    told(packs.evaluate(cohort, out, "--subsets", "full"), "another conditions", code=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    told(packs.evaluate(cohort, tmp_path / "mine"), "not empty", code=2)


def test_killed_halfway_it_goes_on_to_the_same_tables(finished, cohort, tmp_path):
    out = tmp_path / "out"
    arguments = ("evaluate", "tiny-both", "--cases", cohort, "--steps", 2, "--device", "cpu", "--out", out)
    running = Apart(tmp_path, *arguments)
    until = time.monotonic() + 300
    while not (out / "cases" / "00000.json").is_file():
        assert running.alive and time.monotonic() < until
        time.sleep(0.002)
    running.send(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert not (out / "cases.csv").exists()
    assert packs.evaluate(cohort, out).code == 0
    assert packs.tables(out) == packs.tables(finished)


def test_a_full_disk_is_told_and_what_was_finished_is_kept(finished, cohort, tmp_path):
    out = tmp_path / "out"
    assert packs.evaluate(cohort, out, "--count", 1).code == 0
    arguments = ("evaluate", "tiny-both", "--cases", cohort, "--steps", 2, "--device", "cpu", "--out", out)
    told(vcm_apart(tmp_path, *arguments, hardship=RoomFor(2000)), "disk is full")
    assert (out / "cases" / "00000.json").is_file()
    assert not [path for path in out.rglob(".*") if path.name != RECORD]
    assert packs.evaluate(cohort, out).code == 0
    assert packs.tables(out) == packs.tables(finished)


def test_wrong_requests_are_told(cohort, tmp_path):
    told(vcm("evaluate", "tiny-both"), "Say what to evaluate on", code=2)
    told(
        vcm("evaluate", "tiny-both", "--cases", cohort, "--attribute", "age"), "cases and attribute were given", code=2
    )
    told(vcm("evaluate", "--cases", cohort), "Name the pack", code=2)
    told(vcm("evaluate", "tiny", "--cases", cohort, "--out", tmp_path / "o"), "a control was expected here", code=2)
    told(vcm("evaluate", "nosuch", "--cases", cohort, "--out", tmp_path / "o"), "no pack nosuch")
    told(vcm("evaluate", "tiny-both", "--cases", tmp_path, "--out", tmp_path / "o"), "no cases.csv")
    told(vcm("evaluate", "tiny-both", "more", "--cases", cohort), "Only compare takes more than one name", code=2)
