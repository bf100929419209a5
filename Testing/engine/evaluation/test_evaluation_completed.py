"""`vcm evaluate --layout`: a control on heads that a layout has completed."""

from __future__ import annotations

import csv
import json

import evaluation_packs as packs
import pytest
import tiny_layout
from command_line import vcm


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    home = tmp_path_factory.mktemp("completed")
    folder = packs.write_packs(home / "packs")
    packs.write_semantics(folder)
    tiny_layout.write_layout(folder / "tiny-layout")
    return folder, packs.write_cohort(home / "unseen", 2)


@pytest.fixture
def cohort(places, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(places[0]))
    return places[1]


def evaluated(cohort, out, *more, subsets="ventricles", layout="tiny-layout"):
    words = ["--subsets", subsets, *(["--layout", layout] if layout else []), *more]
    return packs.evaluate(cohort, out, *words, pack="tiny-semantics")


def test_the_numbers_are_those_that_vcm_generate_reports_with_this_layout(cohort, tmp_path):
    ended = evaluated(cohort, tmp_path / "out")
    assert ended.code == 0, ended
    raw = next(r for r in csv.DictReader((cohort / "cases.csv").open()) if r["case"] == "00001")
    given = [
        part
        for n in ("sex", "age", "ventricular_volume", "brain_volume")
        for part in ("--attribute", f"{n}.raw={raw[n]}")
    ]
    made = vcm(
        "generate", "--pack", "tiny", "--condition",
        f"ventricles={cohort / 'cases' / '00001' / 'labels.nii.gz'}:4", "--layout", "tiny-layout", "--seed", 1,
        "--steps", 2, "--device", "cpu", *given, "--out", tmp_path / "made", "--json",
    )  # fmt: skip
    assert made.code == 0, made
    assert made.json["packs"]["control"]["name"] == "tiny-semantics"
    (wanted,) = made.json["samples"][0]["alignment"]["classes"]
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").open()))
    for measure, name in (("dice", "dice"), ("obtained_ml", "obtained_ml")):
        (mine,) = [
            r["value"]
            for r in rows
            if (r["case"], r["images"], r["structure"], r["measure"]) == ("00001", "controlled", "ventricles", measure)
        ]
        assert float(mine) == pytest.approx(wanted[name], rel=1e-3)


def test_the_layout_is_part_of_what_was_evaluated(cohort, tmp_path):
    assert evaluated(cohort, tmp_path / "out").code == 0
    data = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert data["layout"] == "tiny-layout" and "tiny-layout/denoiser" in data["files"]
    refused = evaluated(cohort, tmp_path / "out", subsets="full", layout=None)
    assert refused.code == 2 and "another" in refused.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"subsets": "tumours"}, "Cases have semantics, ventricles"),
        ({"subsets": "skull"}, "nothing to add to skull"),
        ({"layout": "tiny"}, "tiny is"),
        ({"layout": "none-such"}, "no pack none-such"),
        ({"subsets": "all"}, "it must be said what is given"),
    ],
)
def test_what_a_layout_cannot_complete_is_refused_before_anything_is_loaded(cohort, tmp_path, words, told):
    refused = evaluated(cohort, tmp_path / "out", **words)
    assert refused.code in (1, 2) and told in " ".join(refused.err.split()), refused.err
    assert not (tmp_path / "out" / "cases").exists()
