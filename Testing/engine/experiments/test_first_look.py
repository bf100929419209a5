"""The comparison of kinds: each is trained and tried, a second call goes on, and what is refused is said."""

from __future__ import annotations

import csv
import json
import os

import pytest
from command_line import vcm
from small_cohort import write_cohort, write_workshop


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("look")
    write_workshop(folder)
    write_cohort(folder / "unseen", 2)
    return folder


def look(place, *more, kinds="mcm,controlnet", minutes=0.1, out="look"):
    return vcm("experiment", "controls", place / "cohort", "--held-out", place / "unseen", "--backbone", "tiny",
               "--kinds", kinds, "--minutes", minutes, "--held-out-cases", 2, "--device", "cpu",
               "--out", place / out, *more)  # fmt: skip


@pytest.fixture(autouse=True)
def packs(place, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", os.fspath(place / "packs"))


def test_each_kind_is_trained_for_the_minutes_and_measured_and_is_kept(place):
    ended = look(place)
    assert ended.code == 0, ended.err
    with (place / "look" / "first-look.csv").open() as file:
        rows = {row["kind"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"mcm", "controlnet"}
    for kind, row in rows.items():
        assert int(row["steps"]) >= 1 and float(row["step_seconds"]) > 0
        assert all(0 <= float(row[way]) <= 1 for way in ("controlled", "uncontrolled", "reconstructed"))
        assert f"| `{kind}` |" in (place / "look" / "first-look.md").read_text("utf-8")
        assert float(row["minutes"]) < 1
        assert any(line.startswith(f"| `{kind}` |") for line in ended.out.splitlines())
    assert rows["mcm"]["uncontrolled"] == rows["controlnet"]["uncontrolled"]
    before = (place / "look" / "mcm" / "look.json").read_bytes()
    again = look(place, kinds="mcm,controlnet-mlp")
    assert again.code == 0 and "controlnet-mlp: training" in again.out and "mcm: training" not in again.out
    assert (place / "look" / "mcm" / "look.json").read_bytes() == before


def test_a_comparison_that_was_cut_off_goes_on_where_its_training_was(place):
    assert look(place, kinds="mcm", out="cut").code == 0
    folder = place / "cut" / "mcm"
    first, settings = json.loads((folder / "look.json").read_text()), (folder / "settings.json").read_bytes()
    (folder / "look.json").unlink()
    again = look(place, kinds="mcm", out="cut")
    assert again.code == 0, again.err
    second = json.loads((folder / "look.json").read_text())
    assert (folder / "settings.json").read_bytes() == settings
    assert second["steps"] >= first["steps"] and second["minutes"] < first["minutes"] + 0.05


def test_other_minutes_in_the_same_folder_are_refused(place):
    assert look(place, kinds="mcm", out="other").code == 0
    ended = look(place, kinds="mcm", out="other", minutes=0.2)
    assert ended.code == 2 and "another folder" in ended.err


def test_an_unknown_kind_ends_in_a_sentence(place):
    ended = look(place, kinds="control-net", out="unknown")
    assert ended.code != 0 and "controlnet-lite" in ended.err and "Traceback" not in ended.err
