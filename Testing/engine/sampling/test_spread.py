"""What samples lack of the spread of real heads: restored in every sample, by whoever steers it."""

import numpy as np
import pytest
import tiny
import torch
from vcm.conditions.attributes import resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.machine.runtime import choose_runtime
from vcm.models.loading import load_backbone, load_control
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.schema import read_document
from vcm.packs.store import find_pack
from vcm.packs.tensors.checkpoints import write_weights
from vcm.sampling.generator import Generator
from vcm.sampling.loop import sample_latents
from vcm.sampling.request import GenerateRequest

PLACES = tiny.LATENT[1:]
RNG = torch.Generator().manual_seed(2)
OF_BACKBONE = 0.8 + torch.rand(PLACES, generator=RNG)
OF_CONTROL = 0.8 + torch.rand(PLACES, generator=RNG)


def ventricles(strength=1.0):
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1.0
    return Condition(ConditionSpec.from_dict(tiny.CONDITIONS[0]), Volume(array, tiny.GRID), strength=strength)


def generator(of_backbone=None, of_control=None):
    maker = Generator(tiny.backbone(), tiny.control(), choose_runtime("cpu"))
    maker.backbone.spread, maker.control.spread = of_backbone, of_control
    return maker


def decoded(maker, *conditions):
    """The latents that come to be decoded, and the images: the sample's and its twin's."""
    seen = []
    decode = maker.backbone.decode

    def watched(latent, scale=None):
        seen.append(latent.clone())
        return decode(latent, scale)

    maker.backbone.decode = watched
    request = GenerateRequest(
        attributes=resolve(maker.backbone.attributes), conditions=conditions, steps=3, seed=4, uncontrolled=True
    )
    list(maker.generate(request))
    return [latent[0] for latent in seen]


def test_a_sample_has_the_spread_of_its_control_and_its_twin_that_of_the_backbone():
    plain = decoded(generator(), ventricles())
    restored = decoded(generator(OF_BACKBONE, OF_CONTROL), ventricles())
    assert len(plain) == len(restored) == 2
    assert torch.allclose(restored[0], plain[0] * OF_CONTROL, atol=1e-5)
    assert torch.allclose(restored[1], plain[1] * OF_BACKBONE, atol=1e-5)


@pytest.mark.parametrize("conditions", [(), (ventricles(0.0),)])
def test_a_sample_that_nothing_steers_has_the_spread_of_the_backbone(conditions):
    (plain, *_), (restored, *_) = (
        decoded(generator(), *conditions),
        decoded(generator(OF_BACKBONE, OF_CONTROL), *conditions),
    )
    assert torch.allclose(restored, plain * OF_BACKBONE, atol=1e-5)


def test_a_control_that_tells_none_leaves_the_latent_as_it_is():
    plain, restored = decoded(generator(), ventricles()), decoded(generator(OF_BACKBONE), ventricles())
    assert torch.equal(plain[0], restored[0])


def test_a_training_sees_samples_as_they_will_be():
    maker, noise = generator(OF_BACKBONE, OF_CONTROL), torch.randn((1, *tiny.LATENT), generator=RNG)
    inputs = torch.tensor([[0.0, 0.3, 0.2, 0.5]])
    restored = sample_latents(maker.backbone, inputs, noise, maker.control, [ventricles()], steps=3)
    maker.control.spread = None
    plain = sample_latents(maker.backbone, inputs, noise, maker.control, [ventricles()], steps=3)
    assert torch.allclose(restored, plain * OF_CONTROL, atol=1e-5)


def test_a_spread_on_another_grid_is_refused():
    with pytest.raises(VcmError, match=r"spread on a grid of \(4, 8, 6\).*\(4, 6, 8\)") as refused:
        decoded(generator(None, torch.ones(4, 8, 6)), ventricles())
    assert refused.value.code is Code.PACK_INVALID


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path)
    monkeypatch.setenv("VCM_PACKS", str(tmp_path))
    return tmp_path


def put(folder, tensors):
    write_weights(folder / "spread.safetensors", tensors)
    content = read_document(folder / "manifest.json")
    content["files"]["spread"] = {"path": "spread.safetensors"}
    (folder / "manifest.json").unlink()
    write_manifest(folder, content)


def test_packs_bring_it(packs):
    assert load_backbone(find_pack("tiny")).spread is None and load_control(find_pack("tiny-both")).spread is None
    put(packs / "tiny", {"spread": OF_BACKBONE})
    put(packs / "tiny-both", {"spread": OF_CONTROL})
    assert torch.equal(load_backbone(find_pack("tiny")).spread, OF_BACKBONE)
    assert torch.equal(load_control(find_pack("tiny-both")).spread, OF_CONTROL)


@pytest.mark.parametrize(
    "tensors",
    [
        {"other": torch.ones(PLACES)},
        {"spread": torch.ones(3, *PLACES)},
        {"spread": torch.zeros(PLACES)},
        {"spread": torch.full(PLACES, 11.0)},
        {"spread": torch.full(PLACES, -1.0)},
        {"spread": torch.ones(PLACES), "more": torch.ones(1)},
    ],
)
def test_what_is_none_is_refused_in_a_sentence(packs, tensors):
    put(packs / "tiny-both", tensors)
    with pytest.raises(VcmError, match="spread of the pack tiny-both must be") as refused:
        load_control(find_pack("tiny-both"))
    assert refused.value.code is Code.PACK_INVALID
