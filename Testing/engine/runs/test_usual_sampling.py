"""The sampler and the steps that a manifest names for its model: by whom they are taken, and what overrides them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import vcm
from tiny import write_packs
from vcm.core.errors import VcmError
from vcm.evaluation.case_sampler import CaseSampler
from vcm.packs.manifest import UsualSampling
from vcm.packs.store import find_pack
from vcm.protocol import Generate, ListPacks, decode, encode
from vcm.runs.job import ConditionFile, GenerateJob
from vcm.runs.request_hash import hash_request
from vcm.worker.contract import Call
from vcm.worker.engine import LocalEngine
from vcm.worker.survey import survey_packs


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The tiny packs, of which `tiny` names the steps that it takes."""
    folder = tmp_path / "packs"
    write_packs(folder)
    monkeypatch.setenv("VCM_PACKS", str(folder))
    path = next(path for path in folder.glob("*/manifest.json") if json.loads(path.read_text())["name"] == "tiny")

    def name(**sampling):
        path.write_text(json.dumps({**json.loads(path.read_text()), "sampling": sampling}))
        return find_pack("tiny")

    return name


def sampled(out: Path, *more: object) -> tuple[str, int]:
    ended = vcm("generate", "--pack=tiny", "--seed=4", f"--out={out}", *more)
    assert ended.code == 0, ended.err
    return said_in(out)


def said_in(out: Path) -> tuple[str, int]:
    sampling = json.loads((out / "report.json").read_text())["sampling"]
    return sampling["sampler"], sampling["steps"]


@pytest.mark.parametrize(
    ("options", "used"),
    [
        ((), ("ddim", 7)),
        (("--steps=3",), ("ddim", 3)),
        (("--sampler=unipc",), ("unipc", 20)),
        (("--sampler=ddim",), ("ddim", 7)),
        (("--sampler=dpm++", "--steps=2"), ("dpm++", 2)),
    ],
)
def test_the_command_line_samples_as_the_manifest_says_unless_it_is_told_otherwise(own, tmp_path, options, used):
    own(sampler="ddim", steps=7)
    assert sampled(tmp_path / "out", *options) == used


@pytest.mark.usefixtures("own")
def test_a_manifest_that_names_none_is_sampled_as_ever(tmp_path):
    assert sampled(tmp_path / "out") == ("dpm++", 20)


def test_the_image_is_that_of_the_named_sampler(own, tmp_path):
    own(sampler="ddim", steps=7)
    sampled(tmp_path / "a")
    sampled(tmp_path / "b", "--sampler=ddim", "--steps=7")
    sampled(tmp_path / "c", "--sampler=dpm++", "--steps=7")
    a, b, c = ((tmp_path / name / "sample-0.nii.gz").read_bytes() for name in "abc")
    assert a == b != c


def test_the_worker_samples_as_the_manifest_says_and_hands_it_to_its_client(own, tmp_path):
    own(sampler="ddim", steps=7)
    engine = LocalEngine()
    engine.start()
    request = decode(encode(Generate("a", str(tmp_path / "out"), pack="tiny", seed=5)))
    engine.generate(request, Call("a", lambda message: None, lambda: False))
    assert said_in(tmp_path / "out") == ("ddim", 7)
    entry = next(entry for entry in survey_packs(ListPacks("x")).packs if entry.name == "tiny")
    assert entry.manifest["sampling"] == {"sampler": "ddim", "steps": 7}


def test_a_request_is_known_again_by_the_sampler_that_is_used(own, tmp_path):
    job = GenerateJob(tmp_path / "out", pack="tiny", seed=1)
    pack = own(sampler="ddim", steps=7)
    hashed = hash_request(job, pack, None)
    assert hashed == hash_request(replace(job, sampler="ddim", steps=7), pack, None)
    assert hashed != hash_request(replace(job, sampler="dpm++"), pack, None)
    assert hashed != hash_request(job, own(sampler="ddim", steps=8), None)


def test_evaluations_keep_which_sampler_made_their_images():
    assert CaseSampler(None, UsualSampling("ddim", 7)).settings == {"steps": 7, "sampler": "ddim"}
    assert CaseSampler(None, UsualSampling("ddim", 7), 3).settings == {"steps": 3, "sampler": "ddim"}
    assert CaseSampler(None, UsualSampling()).settings == {"steps": 20}


def test_evaluations_sample_as_the_manifest_says():
    asked = []

    def generate(request, cancelled):
        asked.append((request.sampler, request.step_count))
        return [SimpleNamespace(volume=None)]

    generator = SimpleNamespace(backbone=SimpleNamespace(attributes=()), generate=generate)
    for usual, steps in ((UsualSampling("ddim", 7), None), (UsualSampling("ddim", 7), 3), (UsualSampling(), None)):
        CaseSampler(generator, usual, steps).sample({}, seed=1)
    assert asked == [("ddim", 7), ("ddim", 3), ("dpm++", 20)]


def test_the_details_of_a_model_name_its_sampler(own):
    own(sampler="ddim", steps=7)
    assert "7 steps of ddim" in vcm("packs", "info", "tiny").out
    assert "10 steps of unipc" in vcm("packs", "info", "brainldm-mini").out


@pytest.mark.parametrize("sampling", [{"sampler": "ddim"}, {"sampler": "ddim", "steps": 0}, {"sampler": 3, "steps": 5}])
def test_a_manifest_with_half_an_answer_is_refused(own, sampling):
    with pytest.raises(VcmError, match="sampling"):
        own(**sampling)


def test_a_sampler_that_nobody_has_is_refused_by_name(own, tmp_path):
    own(sampler="heun", steps=4)
    ended = vcm("generate", "--pack=tiny", f"--out={tmp_path / 'out'}")
    assert ended.code == 2 and "heun" in ended.err and "dpm++" in ended.err


def test_what_a_manifest_says_of_the_same_weights_changes_what_results_are_known_by(own):
    job, pack = GenerateJob(Path("out"), pack="tiny", seed=1), find_pack("tiny")
    before = hash_request(job, pack, None)
    path = pack.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["latent"]["scale_factor"] = 3 * manifest["latent"]["scale_factor"]
    path.write_text(json.dumps(manifest))
    assert hash_request(job, find_pack("tiny"), None) != before


def test_a_request_whose_input_is_gone_is_no_finished_one(own, tmp_path):
    job = GenerateJob(Path("out"), (ConditionFile("ventricles", tmp_path / "gone.nii.gz"),), pack="tiny", seed=1)
    assert hash_request(job, find_pack("tiny"), None) is None
