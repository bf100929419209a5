"""What can be asked of a Generate: the same options, defaults and bounds by the worker and by the command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from command_line import vcm
from vcm.core.errors import Code, VcmError
from vcm.protocol import Generate, decode, encode
from vcm.protocol.requests import GenerateOptions
from vcm.runs.job import GenerateJob
from vcm.worker.translation import generate_job

CHOSEN = {
    "pack": "tiny", "control": "tiny-control", "attributes": {"age": 61.0}, "raw_attributes": {"sex": 0.25}, "seed": 7,
    "size": "32x48x64", "spacing": "1.5",
    "samples": 3, "batch": 2, "sampler": "ddim", "steps": 11, "uncontrolled": True, "preview_every": 5, "device": "cpu",
    "precision": "bf16", "memory": "slabs", "segmenter": "pack", "layout": "tiny-layout", "force": True,
}  # fmt: skip
"""A value for each option that is not its default."""


def test_the_values_below_are_those_of_every_option_and_none_is_its_default():
    assert set(CHOSEN) == {entry.name for entry in dataclasses.fields(GenerateOptions)}
    usual = GenerateJob(Path("out")).options
    assert [name for name, value in CHOSEN.items() if usual[name] == value] == []


def test_every_option_goes_from_a_message_to_the_job():
    request = decode(encode(Generate("a", "out", noise_path="n.npy", **CHOSEN)))
    job = generate_job(request)
    assert job == GenerateJob(Path("out"), noise=Path("n.npy"), **CHOSEN)
    assert job.options == CHOSEN


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that the command line would have had done."""
    asked = []

    def refuse(job, *_):
        asked.append(job)
        raise VcmError(Code.CANCELLED, "Enough.")

    monkeypatch.setattr("vcm.runs.run.run_generate", refuse)
    return asked


@pytest.mark.usefixtures("with_tiny_packs")
def test_every_option_goes_from_the_command_line_to_the_job(jobs):
    given = [("age", 61), ("attribute", "sex.raw=0.25")]
    given += [(name, value) for name, value in CHOSEN.items() if "attributes" not in name]
    words = [
        f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
        for name, value in given
    ]
    vcm("generate", *words)
    assert [job.options for job in jobs] == [CHOSEN]


@pytest.mark.usefixtures("with_tiny_packs")
def test_the_command_line_has_no_defaults_of_its_own(jobs):
    vcm("generate")
    assert [job.options for job in jobs] == [GenerateJob(Path("out")).options]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("samples", 0, "The number of samples must be between 1 and 10000, not 0."),
        ("samples", 10_001, "The number of samples must be between 1 and 10000, not 10001."),
        ("batch", 1025, "The batch must be between 1 and 1024, not 1025."),
        ("steps", 0, "The number of steps must be between 1 and 1000, not 0."),
        ("seed", -1, f"The seed must be between 0 and {2**63 - 1}, not -1."),
        ("preview_every", 1001, "The interval of previews must be between 0 and 1000, not 1001."),
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_read(option, value, words):
    with pytest.raises(VcmError) as caught:
        generate_job(Generate("a", "nowhere", **{option: value}))
    assert caught.value.sentence == words and caught.value.code is Code.BAD_REQUEST
