"""Mixed precision on a processor: the sampling's steps in bf16, all that is done once in fp32."""

import json

import numpy as np
import pytest
import tiny
import torch
from vcm.cli.evaluate import _generator as generator_to_evaluate
from vcm.conditions.attributes import resolve
from vcm.core.errors import Code, VcmError
from vcm.evaluation.control_evaluation import EvaluationListeners
from vcm.machine import runtime
from vcm.machine.runtime import choose_runtime
from vcm.packs.manifest import UsualSampling
from vcm.packs.store import find_pack
from vcm.runs.run import GenerateJob, load_generator
from vcm.runs.warm_models import WarmModels
from vcm.sampling.generator import Generator
from vcm.sampling.request import GenerateRequest


def image(precision, watched=None):
    backbone = tiny.backbone()
    if watched is not None:
        for name in ("predict", "decode"):
            original = getattr(backbone, name)

            def watching(*arguments, original=original, name=name, **options):
                watched.setdefault(name, set()).add(torch.is_autocast_enabled("cpu"))
                return original(*arguments, **options)

            setattr(backbone, name, watching)
    maker = Generator(backbone, None, choose_runtime("cpu", precision))
    (sample,) = maker.generate(GenerateRequest(resolve(backbone.attributes), seed=3, steps=4))
    return sample.volume.array


def test_only_the_steps_are_computed_in_bf16():
    watched = {}
    image("mixed", watched)
    assert watched == {"predict": {True}, "decode": {False}}


def test_an_image_is_near_that_in_fp32_and_has_its_fine_shades():
    fp32, mixed, bf16 = (image(precision) for precision in ("fp32", "mixed", "bf16"))
    apart = np.abs(fp32 - mixed)
    assert apart.max() > 0 and apart.std() < 0.2 * fp32.std()
    shades = [len(np.unique(each)) for each in (fp32, mixed, bf16)]
    assert shades[1] > 0.9 * shades[0] > 3 * shades[2]


@pytest.mark.parametrize(
    ("fast", "allowed", "asked", "chosen"),
    [
        (True, True, "auto", "mixed"),
        (True, False, "auto", "fp32"),
        (False, True, "auto", "fp32"),
        (True, True, "fp32", "fp32"),
        (False, False, "mixed", "mixed"),
    ],
)
def test_it_is_usual_where_the_model_allows_it_and_the_processor_has_bf16(monkeypatch, fast, allowed, asked, chosen):
    monkeypatch.setattr(runtime, "has_bf16", lambda _device: fast)
    found = choose_runtime("cpu", asked, mixed=allowed)
    assert found.precision == chosen and found.dtype is torch.float32
    assert ("bf16 in its steps" in found.words) is (chosen == "mixed")
    assert found.words.endswith("slowly") is (chosen == "mixed" and not fast)


def test_a_gpu_refuses_it(monkeypatch):
    monkeypatch.setattr(runtime, "choose_device", lambda _name: torch.device("cuda", 0))
    with pytest.raises(VcmError, match="for processors") as caught:
        choose_runtime("cuda", "mixed")
    assert caught.value.code is Code.DEVICE and "fp16" in caught.value.remedy


@pytest.mark.parametrize("allowed", [True, False])
def test_a_pack_says_whether_its_steps_may_be_in_bf16(tmp_path, monkeypatch, allowed):
    monkeypatch.setattr(runtime, "has_bf16", lambda _device: True)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path))
    tiny.write_packs(tmp_path)
    path = tmp_path / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    sampling = {"sampler": "dpm++", "steps": 3, **({"mixed": True} if allowed else {})}
    path.write_text(json.dumps({**content, "sampling": sampling}))
    job, pack = GenerateJob(tmp_path / "out", device="cpu"), find_pack("tiny")
    assert pack.backbone.sampling == UsualSampling("dpm++", 3, allowed)
    wanted = "mixed" if allowed else "fp32"
    assert load_generator(pack, None, job).runtime.precision == wanted
    assert WarmModels().generator(pack, None, job, lambda _name: None).runtime.precision == wanted
    evaluated = generator_to_evaluate(pack, None, ("cpu", "auto"), EvaluationListeners())
    assert evaluated.runtime.precision == wanted


def test_the_pack_that_ships_may_be_in_bf16_and_published_networks_may_not():
    assert find_pack("brainldm-mini").backbone.sampling.mixed
    assert not UsualSampling().mixed
