"""The command line: every option, what machines read, exit codes, help, and paths of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import typer
from command_line import vcm
from faults import MASK, names
from vcm.cli import app
from vcm.core.volume import Volume
from vcm.sampling.generator import seeded_noise
from vcm.sampling.samplers import SAMPLERS
from vcm.volumes.volume_files import read_volume, write_volume

RUN = ("generate", "--pack", "tiny", "--steps", 2, "--seed", 3)
PROGRAM = Path(sys.executable).with_name("vcm")

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.fixture
def mask(tmp_path):
    write_volume(tmp_path / "mask.nii.gz", Volume(MASK, tiny.GRID))
    return tmp_path / "mask.nii.gz"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def refused(*arguments, code=1):
    """The sentence of a command that must fail with `code`, cleanly."""
    ended = vcm(*arguments)
    assert ended.code == code and ended.out == "" and "Traceback" not in ended.err
    return ended.err


def report_in(folder):
    return json.loads((folder / "report.json").read_text("utf-8"))


def commands(command=None, path=("vcm",)):
    command = command or typer.main.get_command(app)
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))
    yield path, command


@pytest.mark.parametrize("path", [pytest.param(path, id=" ".join(path)) for path, _ in commands()])
def test_the_help_of_every_command_explains_it_by_an_example(path):
    ended = vcm(*path[1:], "--help")
    assert ended.code == 0 and ended.err == ""
    if path == ("vcm",) or not any(other[:-1] == path for other, _ in commands()):
        assert " ".join(path) in " ".join(ended.out.partition("Example")[2].split())


def test_every_option_is_explained():
    for path, command in commands():
        for parameter in command.params:
            if parameter.name != "help":
                assert getattr(parameter, "help", None), f"{' '.join(path)} {parameter.name}"


def test_help_answers_at_once_and_loads_nothing_heavy():
    heavy = ("torch", "monai", "numpy", "SimpleITK", "scipy", "safetensors", "PIL", "jsonschema")
    look = f"import sys, vcm.cli; print(*[name for name in {heavy!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "\n"

    def seconds():
        before = os.times()
        subprocess.run([PROGRAM, "--help"], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        # The processor's time, as the clock also counts what else the machine does.
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(3)) < 1


def test_the_program_gives_the_same_image_as_another_process_did(mask, tmp_path):
    options = [*RUN, "--condition", f"ventricles={mask}", "--json"]
    here = vcm(*options, "--out", tmp_path / "here")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(part) for part in (PROGRAM, *options, "--out", tmp_path / "there")]
    there = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (here.code, there.returncode, there.stderr) == (0, 0, "")
    one, other = (read_volume(tmp_path / place / "sample-0.nii.gz").array for place in ("here", "there"))
    assert np.array_equal(one, other)
    assert json.loads(there.stdout)["sampling"]["noise_sha256"] == here.json["sampling"]["noise_sha256"]


def test_a_run_ends_in_words_about_its_files(mask, out):
    ended = vcm(*RUN, "--condition", f"ventricles={mask}", "--uncontrolled", "--out", out)
    assert ended.code == 0
    assert "sample-0.nii.gz (seed 3)" in ended.out and "without control" in ended.out
    assert (
        f"written to {out}: sample-0.nii.gz, uncontrolled-0.nii.gz, condition-0.nii.gz, montage.png, report.json"
        in ended.out
    )
    assert "running on CPU" in ended.err and "Traceback" not in ended.err


def test_every_option_reaches_the_run(mask, out, tmp_path):
    np.save(tmp_path / "noise.npy", np.stack([seeded_noise(s, tiny.LATENT).numpy() for s in (7, 8)]))
    write_volume(tmp_path / "skull.nii.gz", Volume(np.where(MASK, 0, 90).astype(np.int16), tiny.GRID))
    write_volume(tmp_path / "weights.nii.gz", Volume(np.full(tiny.GRID.shape, 0.5, np.float32), tiny.GRID))
    ended = vcm(
        "generate", "--pack=tiny", "--control=both", f"--condition=ventricles={mask}:1",
        f"--condition=skull={tmp_path}/skull.nii.gz", "--strength=ventricles=0.8", "--strength", "skull=1.5",
        "--window=skull=0.1:0.9", f"--region=ventricles={tmp_path}/weights.nii.gz", "--age=72", "--sex=f",
        "--ventricular-volume=30", "--attribute=brain_volume=0.25", "--seed=5", "--samples=2", "--batch=2",
        "--sampler=ddim", "--steps=4", f"--noise={tmp_path}/noise.npy", "--uncontrolled", "--preview-every=2",
        "--device=cpu", "--precision=fp32", "--memory=whole", "--segmenter=auto", "--force", "--json", f"--out={out}",
    )  # fmt: skip
    assert ended.code == 0 and ended.err == ""
    report = ended.json
    assert report == report_in(out) and report["complete"]
    assert [s["file"] for s in report["samples"]] == ["sample-0.nii.gz", "sample-1.nii.gz"]
    assert sorted(report["files"]) == names(out) and "preview-1.nii.gz" in report["files"]
    ventricles, skull = report["conditions"]
    assert (ventricles["strength"], ventricles["window"], skull["strength"], skull["window"]) == (
        0.8, [0, 1], 1.5, [0.1, 0.9]
    )  # fmt: skip
    assert ventricles["region_sha256"] and not skull["region_sha256"]
    assert {a["name"]: (a["value"], a["origin"]) for a in report["attributes"]} == {
        "sex": ("F", "given"),
        "age": (72, "given"),
        "ventricular_volume": (30, "given"),
        "brain_volume": (None, "given raw"),
    }
    sampling = report["sampling"]
    assert (sampling["sampler"], sampling["steps"], sampling["seed"], sampling["precision"]) == ("ddim", 4, 5, "fp32")
    assert report["memory"]["plan"] == "whole"


def test_without_a_pack_it_is_the_embedded_default(mask, out):
    assert "of brainldm-mini takes hair" in refused("generate", "--condition", f"hair={mask}", "--out", out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--age", 72, "--attribute", "age.raw=0.5"], "Age was given twice"),
        (["--age", 72, "--attribute", "Age=71"], "age was given twice"),
        (["--attribute", "age=0.5"], "Age must lie between 44 and 82"),
        (["--attribute", "age=0.5", "--attribute", "age=0.6"], "--attribute was given twice for age"),
        (["--age", 30], "Age must lie between 44 and 82 years, where the model was trained; 30 was given"),
        (["--age", "nan"], "Age must be a number"),
        (["--sex", "X"], "Sex must be one of F, M, not 'X'"),
        (["--brain-volume", 1200], "Brain volume has no published scale"),
        (["--attribute", "height=0.5"], "no attribute height; it has age, brain_volume"),
        (["--attribute", "age=old"], "--attribute age=old holds no number"),
        (["--attribute", "age"], "--attribute is written NAME=VALUE; 'age' was given"),
    ],
)
def test_an_attribute_that_cannot_be_is_told(out, options, words):
    ended = vcm(*RUN, *options, "--out", out)
    assert ended.code in (1, 2) and words in ended.err and not out.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--condition", "ventricles"], "--condition is written NAME=FILE; 'ventricles' was given"),
        (["--condition", "=mask.nii.gz"], "--condition is written NAME=FILE"),
        (["--strength", "ventricels=0.5"], "--strength speaks of ventricels, but no such condition was given"),
        (["--strength", "ventricles=strong"], "--strength ventricles=strong holds no number"),
        (["--strength", "ventricles=9"], "strength of ventricles must lie within 0 and 4, not 9"),
        (["--strength", "ventricles=nan"], "not nan"),
        (["--strength", "ventricles=1", "--strength", "ventricles=2"], "--strength was given twice for ventricles"),
        (["--window", "ventricles=0.5"], "A time window is written START:END within 0 and 1; '0.5' was given"),
        (["--window", "ventricles=0.9:0.1"], "time window of ventricles must rise within 0 to 1, not 0.9 to 0.1"),
        (["--window", "ventricles=0:2"], "not 0 to 2"),
        (["--window", "ventricles=a:b"], "holds no number"),
        (["--region", "skull=weights.nii.gz"], "--region speaks of skull, but no such condition was given"),
        (["--sampler", "heun"], f"The sampler must be {' or '.join(SAMPLERS)}, not 'heun'"),
        (["--steps", 0], "number of steps must be between 1 and 1000, not 0"),
        (["--samples", 0], "number of samples must be between 1 and"),
        (["--seed", -4], "The seed must be between 0 and"),
        (["--device", "tpu"], "The device must be auto, cpu, cuda, cuda:N or mps; not 'tpu'"),
        (["--precision", "fp8"], "The precision must be auto, fp32, fp16, bf16, mixed; not 'fp8'"),
        (["--memory", "lots"], "The memory plan must be auto, whole, slabs, offload; not 'lots'"),
        (["--segmenter", "me"], "The segmenter must be one of auto, pack, synthseg, not 'me'"),
        (["--steps", "many"], "Invalid value for '--steps'"),
        (["--colour", "red"], "No such option: --colour"),
    ],
)
def test_a_request_that_makes_no_sense_ends_with_2_and_a_sentence(mask, out, options, words):
    ended = vcm(*RUN, "--condition", f"ventricles={mask}", *options, "--out", out)
    assert ended.code == 2 and words in ended.err and ended.out == ""
    assert not out.exists() or names(out) == []


@pytest.mark.parametrize("arguments", [(), ("packs",)])
def test_who_asks_for_nothing_is_shown_the_help_alone(arguments):
    ended = vcm(*arguments)
    assert ended.code == 2 and "Usage: vcm" in ended.out + ended.err and "vcm: " not in ended.err


def test_a_command_that_there_is_not_is_told():
    assert "No such command 'generat'" in refused("generat", code=2)


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        ([*RUN, "--condition", "ventricles=gone.nii.gz"], 1, "FILE_MISSING"),
        ([*RUN, "--steps", "many"], 2, "BAD_REQUEST"),
        (["generate", "--pack", "none"], 1, "PACK_MISSING"),
        (["doctor", "--condition", "ventricles=gone.nii.gz", "--pack", "tiny"], 1, "FILE_MISSING"),
        (["packs", "info", "none"], 1, "PACK_MISSING"),
    ],
)
def test_machines_are_told_of_a_failure_in_json_and_nothing_else(tmp_path, monkeypatch, arguments, code, kind):
    monkeypatch.chdir(tmp_path)
    ended = vcm(*arguments, "--json")
    assert (ended.code, ended.err) == (code, "")
    assert ended.json["error"]["code"] == kind and ended.json["error"]["sentence"]
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["first", "last", "environment"])
def test_the_traceback_is_shown_to_those_who_ask_for_it_alone(monkeypatch, place):
    arguments = ["generate", "--pack", "none"]
    assert "Traceback" not in vcm(*arguments).err
    if place == "environment":
        monkeypatch.setenv("VCM_DEBUG", "1")
    debugged = {"first": ["--debug", *arguments], "last": [*arguments, "--debug"]}.get(place, arguments)
    err = vcm(*debugged).err
    assert "Traceback" in err and "There is no pack none" in err.splitlines()[-2]


def test_what_nobody_foresaw_ends_in_a_sentence_too(monkeypatch, out):
    monkeypatch.setattr("vcm.runs.choice.default_backbone", lambda: {}["oops"])
    text = refused("generate", "--out", out, code=70)
    assert "KeyError: 'oops'" in text and "--debug" in text


def test_an_out_that_is_a_file_is_refused_and_the_file_stays(out):
    out.write_text("precious")
    assert str(out) in refused(*RUN, "--out", out, code=2)
    assert out.read_text() == "precious"


def test_foreign_results_are_refused_and_replaced_by_force_alone(out):
    out.mkdir()
    (out / "sample-0.nii.gz").write_text("precious")
    text = refused(*RUN, "--out", out, code=2)
    assert "sample-0.nii.gz" in text and "--force" in text
    assert (out / "sample-0.nii.gz").read_text() == "precious" and names(out) == ["sample-0.nii.gz"]
    assert vcm(*RUN, "--out", out, "--force").code == 0
    assert read_volume(out / "sample-0.nii.gz").grid.shape == tiny.GRID.shape


def test_an_input_among_the_results_is_not_replaced_by_its_own_run(mask, out):
    assert vcm(*RUN, "--condition", f"ventricles={mask}", "--out", out).code == 0
    before = (out / "sample-0.nii.gz").read_bytes()
    text = refused(*RUN, "--condition", f"skull={out}/sample-0.nii.gz", "--out", out, "--force", code=2)
    assert "given as an input" in text and (out / "sample-0.nii.gz").read_bytes() == before


def test_the_doctor_shows_what_the_model_would_see_and_never_writes_over_a_file(mask, tmp_path):
    flipped = Volume(MASK[::-1], type(tiny.GRID)(MASK.shape, tiny.GRID.affine @ [[-1, 0, 0, 15], *np.eye(4)[1:]]))
    write_volume(tmp_path / "ventricles.nii.gz", flipped)
    before = (tmp_path / "ventricles.nii.gz").read_bytes()
    command = ("doctor", "--pack", "tiny", "--condition", f"ventricles={tmp_path}/ventricles.nii.gz", "--out", tmp_path)
    ended = vcm(*command)
    assert ended.code == 0 and "ventricles is usable: ventricles 9.0 ml" in ended.out and "note: " in ended.err
    assert (tmp_path / "ventricles.nii.gz").read_bytes() == before
    seen = tmp_path / "seen-ventricles.nii.gz"
    assert np.array_equal(read_volume(seen).array, MASK) and read_volume(seen).grid.same_as(tiny.GRID)
    seen.write_text("precious")
    assert str(seen) in refused(*command, code=2) and seen.read_text() == "precious"
    assert vcm(*command, "--force").code == 0 and read_volume(seen).array.any()


def test_the_doctor_tells_every_error_and_ends_with_1(tmp_path):
    write_volume(tmp_path / "blank.nii.gz", Volume(MASK * 0, tiny.GRID))
    conditions = [f"--condition={name}={tmp_path}/blank.nii.gz" for name in ("ventricles", "skull")]
    command = ["doctor", "--pack", "tiny", *conditions]
    ended = vcm(*command)
    assert ended.code == 1 and ended.err.count("error: ") == 2 and "skull cannot be used" in ended.out
    ended = vcm(*command, "--json")
    assert ended.code == 1 and ended.err == "" and ended.json["usable"] is False
    text = refused("generate", "--pack", "tiny", *conditions)
    assert text.count("blank.nii.gz") == 2


def test_a_device_that_is_not_there_is_an_error_and_never_another_device(out):
    import torch

    if not torch.cuda.is_available():
        assert "no NVIDIA GPU" in refused(*RUN, "--device", "cuda", "--out", out)
    assert "fp16" in refused(*RUN, "--device", "cpu", "--precision", "fp16", "--out", out)


def test_a_reader_that_has_enough_does_not_make_a_failure():
    command = f"{PROGRAM} packs list --json | head -c 1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("{", "")


def test_the_version_is_said():
    ended = vcm("--version")
    assert ended.code == 0 and ended.out.startswith("vcm 0.")
