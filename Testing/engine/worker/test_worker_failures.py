"""Every exception becomes a sentence with the right code."""

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from vcm.core.errors import Code, VcmError
from vcm.protocol.failures import failed, in_words


def raised_by(action):
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_in_words_is_left_as_it_is():
    error = VcmError(Code.GEOMETRY, "It lies elsewhere.", "Align it.")
    assert in_words(error) is error


@pytest.mark.parametrize(
    ("action", "code", "said"),
    [
        (lambda: np.zeros((10**6, 10**6, 10**3)), Code.OUT_OF_MEMORY, "ran out of memory"),
        (lambda: torch.zeros(10**16), Code.OUT_OF_MEMORY, "ran out of memory"),
        (lambda: Path("/nowhere/größe.nii").read_bytes(), Code.FILE_MISSING, "/nowhere/größe.nii"),
        (lambda: Path("/dev/null/mask.nii").read_bytes(), Code.FILE_UNREADABLE, "/dev/null/mask.nii cannot be used"),
        (lambda: Path("a" * 5000).stat(), Code.FILE_UNREADABLE, "name too long"),
        (lambda: Path("/dev/full").write_bytes(b"x" * 10), Code.DISK_FULL, "disk is full"),
        (lambda: {}["age"], Code.INTERNAL, "KeyError: 'age'"),
    ],
)
def test_what_really_happens_is_told_by_what_it_means(action, code, said):
    told = in_words(raised_by(action))
    assert told.code is code and said.lower() in told.sentence.lower()
    assert told.sentence.endswith(".") and told.remedy


def test_a_file_that_may_not_be_used_is_named():
    error = PermissionError(errno.EACCES, "Permission denied", "/data/out")
    assert in_words(error).sentence == "This account may not use /data/out."


def test_the_place_of_an_unforeseen_failure_is_told_and_its_traceback_only_in_debug():
    error = raised_by(lambda: 1 // 0)
    assert in_words(error).details == {"where": in_words(error).details["where"]}
    assert in_words(error).details["where"].startswith("test_worker_failures.py:")
    assert "ZeroDivisionError" in in_words(error, debug=True).details["traceback"]


def test_a_failure_of_many_lines_is_told_in_one():
    assert "\n" not in in_words(ValueError("first line\nsecond line")).sentence


def test_details_that_json_cannot_carry_are_told_as_text():
    error = VcmError(Code.DEVICE, "No.", path=Path("/a"), array=np.arange(2), count=3, missing=float("nan"))
    assert failed("a", error).details == {"path": "/a", "array": "[0 1]", "count": "3", "missing": "nan"}
