"""What a backbone makes of a volume asked for as a number, contact sheets, and evaluations against each other."""

from __future__ import annotations

import csv
import json
import shutil

import evaluation_packs as packs
import numpy as np
import pytest
from command_line import vcm
from faults import told
from PIL import Image
from vcm.core.errors import VcmError
from vcm.evaluation.attribute_response import parse_values
from vcm.evaluation.comparison import read_compared


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return packs.write_packs(tmp_path_factory.mktemp("packs") / "packs")


@pytest.fixture
def response(home, monkeypatch, tmp_path):
    monkeypatch.setenv("VCM_PACKS", str(home))

    def run(*more, pack="tiny"):
        return vcm("evaluate", pack, "--steps", 2, "--device", "cpu", "--out", tmp_path / "out", *more)

    return run


ASK = ("--attribute", "ventricular_volume", "--values", "11:91:3", "--samples", 2)


def test_every_value_is_sampled_and_measured(response, tmp_path):
    ended = response(*ASK, "--json")
    assert ended.code == 0, ended
    out = tmp_path / "out"
    with (out / "response.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(float(r["asked_ml"]), int(r["seed"])) for r in rows] == [
        (v, 2 * n + s) for n, v in enumerate((11, 51, 91)) for s in (0, 1)
    ]
    found = ended.json
    asked, got = ([float(r[c]) for r in rows] for c in ("asked_ml", "obtained_ml"))
    assert found["mean_absolute_difference_ml"]["mean"] == pytest.approx(np.abs(np.subtract(asked, got)).mean())
    if np.ptp(got):
        assert found["correlation"]["r"] == pytest.approx(np.corrcoef(asked, got)[0, 1])
    assert "| 51 |" in (out / "response.md").read_text("utf-8")
    assert Image.open(out / "response.png").size[0] >= 700


def test_stopped_and_begun_again_it_gives_the_same(response, tmp_path):
    assert response(*ASK).code == 0
    out = tmp_path / "out"
    before = (out / "response.csv").read_bytes()
    (out / "cases" / "51-1.json").unlink()
    (out / "response.csv").unlink()
    kept = (out / "cases" / "51-0.json").stat().st_mtime_ns
    assert response(*ASK).code == 0
    assert (out / "response.csv").read_bytes() == before
    assert (out / "cases" / "51-0.json").stat().st_mtime_ns == kept


def test_without_values_nine_are_spread_over_the_attributes_range(response, tmp_path):
    assert response("--attribute", "ventricles", "--samples", 1).code == 0
    with (tmp_path / "out" / "response.csv").open(encoding="utf-8") as stream:
        asked = [float(r["asked_ml"]) for r in csv.DictReader(stream)]
    assert len(asked) == 9 and (asked[0], asked[-1]) == (1, 101)


def test_what_cannot_be_measured_is_refused(response, tmp_path, home, monkeypatch):
    told(response("--attribute", "age"), "no attribute age that can be measured", "ventricular_volume")
    told(response("--attribute", "ventricular_volume", "--values", "5:500:3"), "must lie between 1 and 101")
    told(response("--attribute", "ventricular_volume", "--values", "low"), "--values is written", code=2)
    told(response(*ASK, pack="tiny-both"), "a backbone was expected here", code=2)
    monkeypatch.setenv("VCM_PACKS", str(packs.write_packs(tmp_path / "blind", segmenter=False)))
    told(response("--attribute", "ventricular_volume", "--values", "5,50"), "Volumes cannot be measured", code=2)


def test_values_are_lists_or_ranges():
    assert parse_values("5:85:9")[1] == 15
    assert parse_values(" 1, 2.5") == (1, 2.5)
    for text in ("", "1:2", "1:2:1", "1:2:x", "1:2:100000", "a,b"):
        with pytest.raises(VcmError):
            parse_values(text)


def test_a_contact_sheet_shows_as_many_samples_as_asked_for(response, tmp_path):
    assert response("--contact-sheet", 4).code == 0
    four = Image.open(tmp_path / "out" / "contact-sheet.png")
    assert response("--contact-sheet", 6).code == 0
    six = Image.open(tmp_path / "out" / "contact-sheet.png")
    assert six.height > four.height and six.width == four.width


@pytest.fixture(scope="module")
def evaluations(home, tmp_path_factory):
    """The same control evaluated twice, with other noise."""
    folder = tmp_path_factory.mktemp("evaluations")
    cohort = packs.write_cohort(folder / "unseen", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(home))
        for seed in (0, 7):
            assert packs.evaluate(cohort, folder / f"seed-{seed}", "--subsets", "full", "--seed", seed).code == 0
    return folder


def test_evaluations_named_by_numbers_make_a_curve(evaluations, tmp_path):
    a, b = evaluations / "seed-0", evaluations / "seed-7"
    ended = vcm("evaluate", "compare", f"10={a}", f"500={b}", "--measure", "mae", "--out", tmp_path / "c.png", "--json")
    assert ended.code == 0, ended
    found = ended.json
    assert (found["measure"], found["structure"]) == ("mae", "image")
    assert [e["name"] for e in found["evaluations"]] == ["10", "500"]
    rows = json.loads((b / "summary.json").read_text("utf-8"))["rows"]
    (mae,) = [r["controlled"]["mean"] for r in rows if r["measure"] == "mae"]
    assert found["evaluations"][1]["controlled"]["mean"] == mae
    assert Image.open(tmp_path / "c.png").size == (916, 670)


def test_evaluations_named_by_words_stand_below_each_other(evaluations, tmp_path):
    arguments = [f"one={evaluations / 'seed-0'}", f"two={evaluations / 'seed-7'}"]
    assert vcm("evaluate", "compare", *arguments, "--measure", "ssim", "--out", tmp_path / "c.png").code == 0
    assert Image.open(tmp_path / "c.png").height < 400


def test_what_cannot_be_compared_is_told(evaluations, tmp_path):
    one = f"one={evaluations / 'seed-0'}"
    out = ("--out", tmp_path / "c.png")
    told(vcm("evaluate", "compare", *out), "nothing to compare", code=2)
    told(vcm("evaluate", "compare", one), "does not end in .png", code=2)
    told(vcm("evaluate", "compare", "one", *out), "compared as NAME=FOLDER", code=2)
    told(vcm("evaluate", "compare", f"one={tmp_path}", *out), "no summary.json")
    told(vcm("evaluate", "compare", one, "--measure", "beauty", *out), "no measure beauty", code=2)
    told(vcm("evaluate", "compare", one, "--structure", "nose", *out), "no dice of nose", code=2)
    broken = shutil.copytree(evaluations / "seed-0", tmp_path / "broken")
    (broken / "summary.json").write_text("[]")
    told(vcm("evaluate", "compare", f"one={broken}", *out), "summary.json holds a list")
    (broken / "summary.json").write_text("{}")
    told(vcm("evaluate", "compare", f"one={broken}", *out), "not the summary of an evaluation")
    assert not (tmp_path / "c.png").exists()


def test_a_name_is_a_place_a_line_or_both(evaluations):
    folder = evaluations / "seed-0"
    for text, series, place in (("10", "", 10), ("VCM:50", "VCM", 50), ("all", "all", None), ("a:b", "a:b", None)):
        found = read_compared(f"{text}={folder}")
        assert (found.series, found.place) == (series, place)
