"""Tables of cases: what their columns say, how defaults are filled in, and what is refused, whole or row by row."""

from __future__ import annotations

from pathlib import Path

import pytest
from vcm.core.errors import Code, VcmError
from vcm.runs.batches.case_table import Known, read_case_table, seed_of
from vcm.runs.condition_text import Acting
from vcm.runs.job import ConditionFile, GenerateJob

KNOWN = Known(("ventricles", "skull", "brain"), ("sex", "age", "ventricular_volume", "brain_volume"))
DEFAULTS = GenerateJob(Path("out"), pack="tiny", seed=7, steps=4, attributes={"age": 60.0, "sex": "F"})


@pytest.fixture
def read(tmp_path):
    def read(text, defaults=DEFAULTS, acting=None, encoding="utf-8"):
        (tmp_path / "cases.csv").write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        return read_case_table(tmp_path / "cases.csv", defaults, KNOWN, acting)

    return read


def refused(read, text, **options):
    with pytest.raises(VcmError) as caught:
        read(text, **options)
    assert "cases.csv" in caught.value.sentence
    return caught.value


def test_every_column_reaches_the_job(read, tmp_path):
    (case,) = read(
        "case,ventricles,ventricles.strength,ventricles.window,skull,skull.region,strength,age,brain_volume.raw,seed,"
        "samples,sampler,steps,noise,uncontrolled\n"
        "sub-1,masks/v.nii.gz:4,0.5,0:0.8,s.nrrd:Skull,w.nii.gz,0.9,72,0.25,11,3,ddim,50,n.npy,yes\n"
    )
    assert case.fault is None and case.name == "sub-1"
    assert case.job == GenerateJob(
        out=Path("out") / "sub-1",
        conditions=(
            ConditionFile("ventricles", tmp_path / "masks/v.nii.gz", 4, 0.5, 0.0, 0.8),
            ConditionFile("skull", tmp_path / "s.nrrd", "Skull", 0.9, region=tmp_path / "w.nii.gz"),
        ),
        pack="tiny", attributes={"age": 72.0, "sex": "F"}, raw_attributes={"brain_volume": 0.25}, seed=11, samples=3,
        sampler="ddim", steps=50, noise=tmp_path / "n.npy", uncontrolled=True,
    )  # fmt: skip


def test_what_a_row_leaves_out_has_the_command_lines_default(read):
    defaults = GenerateJob(Path("out"), conditions=(ConditionFile("skull", Path("s.nii.gz")),), samples=2)
    one, other = read(
        "case,ventricles,samples,strength\na,,,\nb,/v.nii.gz,5,0.3\n", defaults, {"skull": Acting(0.7, (0.0, 0.5))}
    )
    assert one.job.conditions == (ConditionFile("skull", Path("s.nii.gz"), None, 0.7, 0.0, 0.5),)
    assert (one.job.samples, other.job.samples) == (2, 5)
    skull, ventricles = other.job.conditions
    assert (skull.strength, skull.end, ventricles.strength, ventricles.end) == (0.3, 0.5, 0.3, 1.0)


def test_an_attribute_goes_before_the_default_in_whichever_way_either_was_given(read):
    (case,) = read("case,age.raw\na,0.5\n")
    assert case.job.attributes == {"sex": "F"} and case.job.raw_attributes == {"age": 0.5}
    (case,) = read("case,Age\na,70\n", GenerateJob(Path("out"), raw_attributes={"age": 0.1}))
    assert case.job.attributes == {"age": 70.0} and case.job.raw_attributes == {}


def test_a_column_that_may_be_a_condition_or_an_attribute_is_the_condition(read):
    (case,) = read("case,brain,ventricles,gender\na,b.nii.gz,v.nii.gz,M\n")
    assert [c.name for c in case.job.conditions] == ["brain", "ventricles"]
    assert case.job.attributes["sex"] == "M"


def test_a_seed_that_is_not_given_follows_from_the_name_alone(read):
    first = {case.name: case.job.seed for case in read("case\na\nb\nc\n")}
    second = {case.name: case.job.seed for case in read("case,age\nc,70\nnew,\na,\n")}
    assert first["a"] == second["a"] == seed_of("a", 7) and first["c"] == second["c"]
    assert len(set(first.values())) == 3
    assert read("case\na\n", GenerateJob(Path("out"), seed=8))[0].job.seed != first["a"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(read, separator, encoding, newline):
    rows = [["case", " age ", "sex"], ["Jürgen", "70", "M"], ["", "", ""], ["b", " 61.5", "F"]]
    cases = read(newline.join(separator.join(row) for row in rows), encoding=encoding)
    assert [(case.name, case.job.attributes["age"]) for case in cases] == [("Jürgen", 70.0), ("b", 61.5)]


def test_an_unknown_column_is_refused_with_all_that_are_known(read):
    error = refused(read, "case,ventricels,seed,height,age.strength\na,x,1,2,3\n")
    assert error.code is Code.BAD_REQUEST and "ventricels, height, age.strength" in error.sentence
    for known in ("case", "ventricles, skull, brain", "strength, window, region", "age", "seed, samples", "NAME.raw"):
        assert known in error.sentence


def test_the_table_of_a_cohort_is_not_taken_for_one_of_cases(read):
    """Its seeds are the cohort's and its attributes raw: what it asks for would not be what it seems to."""
    text = "case,head,seed,sex,age,ventricular_volume,brain_volume,ventricles_ml,brain_ml\n0,h,1,1,.5,.5,.5,30,1100\n"
    assert "head, ventricles_ml, brain_ml" in refused(read, text).sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no case"),
        ("case,age\n", "holds no case"),
        ("age,sex\n70,F\n", "no column case"),
        ("case,age,\na,70,\n", "(without a name)"),
        ("case,age,age\na,70,71\n", "says the same thing in several columns: age"),
        ("case,sex,gender\na,F,F\n", "sex, gender"),
        ('case,age\na,"70\n', "cannot be read as a table"),
        ("case,age\nJürgen,70\n".encode("latin-1"), "no text in UTF-8"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_clear_is_refused_whole(read, text, words):
    assert words in refused(read, text).sentence


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("good,70,F", "there is a case good already"),
        ("GOOD,70,F", "there is a case good already"),
        (",70,F", "a case's name must do as a folder's name, and '' does not"),
        ("../a,70,F", "'../a' does not"),
        (".,70,F", "'.' does not"),
        ("-rf,70,F", "'-rf' does not"),
        ("a:b,70,F", "'a:b' does not"),
        ("a\u202eb,70,F", "does not"),
        ("(line 9),70,F", "'(line 9)' does not"),
        ("n" * 101 + ",70,F", "must do as a folder's name"),
        ("\u8133" * 86 + ",70,F", "must do as a folder's name"),
        ("x" * 200_000 + ",70,F", "must do as a folder's name"),
        ("a\0b,70,F", "zero bytes"),
        ("a,7\0,F", "zero bytes"),
        ("b,71", "2 cells where there are 3 columns"),
        ("a,70,F,M", "4 cells where there are 3 columns"),
        ("a," + "7" * 200_000 + "x,F", ""),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_row_without_a_good_name_is_left_aside_by_its_line(read, row, words):
    good, bad, last = read(f"case,age,sex\ngood,70,F\n{row}\nlast,71,M\n")
    assert (good.name, last.name) == ("good", "last") and good.job and last.job
    if words:
        assert bad.name == "(line 3)" and bad.job is None
        assert words in bad.fault.sentence and "cases.csv, line 3: " in bad.fault.sentence
        assert len(bad.fault.sentence) < 1000


def test_a_table_that_is_not_there_is_told(tmp_path):
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(VcmError, match=str(path)):
            read_case_table(path, DEFAULTS, KNOWN)


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("seed", "one", "the column seed holds 'one' where a whole number is expected"),
        ("samples", "2.5", "a whole number"),
        ("strength", "strong", "the column strength holds 'strong' where a number is expected"),
        ("ventricles.strength", "x", "the column ventricles.strength holds 'x'"),
        ("ventricles.window", "0-1", "START:END"),
        ("window", "a:b", "the column window holds 'a:b' where START:END is expected"),
        ("skull.strength", "0.5", "says how skull should act, but gives no such file"),
        ("age.raw", "old", "the column age.raw holds 'old'"),
        ("uncontrolled", "perhaps", "where yes or no is expected"),
    ],
)
def test_a_row_of_nonsense_is_a_fault_of_its_own_and_the_others_stay(read, column, cell, words):
    good, bad, also_good = read(f"case,ventricles,{column}\na,v.nii.gz,\nb,v.nii.gz,{cell}\nc,v.nii.gz,\n")
    assert good.fault is None and also_good.fault is None
    assert bad.job is None and words in bad.fault.sentence and "cases.csv, line 3" in bad.fault.sentence
