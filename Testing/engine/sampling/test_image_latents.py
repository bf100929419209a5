"""Images among the conditions that a control is given as the backbone's latents: the way from voxels to encodings, in
use and in training, must be the same."""

import numpy as np
import pytest
import tiny
import torch
from image_conditions import control_of, lopsided, skull
from small_cohort import write_cohort, write_latents
from vcm.anatomy.brain_hole import GREY, fill_hole
from vcm.cohort.learning_cases import condition_specs
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.volume import Volume
from vcm.models.controls.vcm_config import network_config
from vcm.models.preparers.head_latent import HeadLatent
from vcm.packs.store import find_pack
from vcm.sampling.guidance import GuidedDenoiser
from vcm.training.control.run import new_control
from vcm.training.control.settings import ControlSettings

ATTRIBUTES = torch.tensor([[1.0, 0.3, 0.6, 0.2]])
NAMES = ("ventricles", "skull")


@pytest.fixture(scope="module")
def backbone():
    return tiny.backbone(prediction="v")


@pytest.fixture
def cases(tmp_path):
    return write_cohort(tmp_path / "cohort")


@torch.no_grad()
def test_the_encoder_sees_the_latent_that_the_backbone_makes_of_the_image(backbone):
    control = control_of("skull")
    denoiser = GuidedDenoiser(backbone, ATTRIBUTES, control, [skull(lopsided())])
    (seen,) = denoiser.state.conditions.values()
    image = fill_hole(lopsided(), tiny.GRID, None)
    assert np.median(image[4:9, 6:17, 8:25]) == np.float32(GREY)
    expected = backbone.encode(torch.from_numpy(image)[None, None])
    others = torch.stack([torch.from_numpy(image).flip(0), torch.from_numpy(lopsided())])
    assert torch.allclose(seen, expected, atol=1e-6)
    assert ((backbone.encode(others[:, None]) - seen).abs().amax((1, 2, 3, 4)) > 0.1).all()
    assert denoiser.state.encoded[frozenset({"skull"})]["skull"].shape == (1, 8 + tiny.LATENT[0], *tiny.LATENT[1:])


@torch.no_grad()
def test_a_backbone_that_knows_a_mean_latent_puts_its_brain_into_the_hole():
    whitened, image = tiny.backbone(packing=2), lopsided()
    (seen,) = GuidedDenoiser(whitened, ATTRIBUTES, control_of("skull"), [skull(lopsided())]).state.conditions.values()
    hole = np.s_[4:9, 6:17, 8:25]
    mean = whitened.decode(torch.zeros(1, *tiny.LATENT))
    image = fill_hole(image, tiny.GRID, mean[0, 0].numpy())
    assert np.array_equal(np.median(image[hole] - mean[0, 0].numpy()[hole]), np.float32(0))
    assert torch.allclose(seen, whitened.encode(torch.from_numpy(image)[None, None]), atol=1e-5)
    assert torch.equal(whitened.typical_image(), mean) and tiny.backbone().typical_image() is None


@torch.no_grad()
def test_a_mask_beside_it_is_still_given_as_voxels(backbone):
    array = np.zeros(tiny.GRID.shape, np.float32)
    array[3:9, 5:20, 7:11] = 1
    mask = Condition(ConditionSpec.from_dict(tiny.CONDITIONS[0]), Volume(array, tiny.GRID))
    state = GuidedDenoiser(backbone, ATTRIBUTES, control_of("skull"), [mask, skull(lopsided())]).state
    assert torch.equal(state.conditions["ventricles"][0, 0], torch.from_numpy(array))
    assert state.conditions["skull"].shape == (1, *tiny.LATENT)


@torch.no_grad()
def test_what_the_image_shows_moves_eps_and_a_mirrored_image_moves_it_elsewhere(backbone):
    latent = torch.randn(1, *tiny.LATENT, generator=torch.Generator().manual_seed(3))

    def guided(*conditions):
        return GuidedDenoiser(backbone, ATTRIBUTES, control_of("skull"), conditions)(latent, 600.0).value

    plain, image, mirrored = guided(), guided(skull(lopsided())), guided(skull(np.flip(lopsided(), 0)))
    assert (image - plain).abs().max() > 1e-3
    assert (image - mirrored).abs().max() > 1e-3


def test_in_training_it_is_the_same_latent_and_its_mirror_image(backbone, cases, tmp_path):
    cache = write_latents(backbone, cases, tmp_path / "latents", NAMES, ways={"skull": "head-latent"})
    image = torch.from_numpy(HeadLatent().image_to_encode(cases[1].read("skull").array, backbone))[None, None]
    with torch.no_grad():
        plain, mirrored = backbone.encode(image), backbone.encode(image.flip(2))
        hollow = backbone.encode(torch.from_numpy(cases[1].read("skull").array)[None, None])
    batch = cache.batch([1, 1], [False, True])
    assert torch.allclose(batch.conditions["skull"][:1], plain, atol=0.1)
    assert torch.allclose(batch.conditions["skull"][1:], mirrored, atol=0.1)
    for other in (mirrored, hollow):  # else the two lines above would say nothing
        assert (plain - other).abs().max() > 0.5
    assert batch.conditions["ventricles"].shape == (2, 1, *tiny.GRID.shape)


def test_a_cache_without_them_is_completed(backbone, cases, tmp_path):
    before = write_latents(backbone, cases, tmp_path / "latents", NAMES).latents
    after = write_latents(backbone, cases, tmp_path / "latents", NAMES, ways={"skull": "head-latent"})
    assert torch.equal(before, after.latents)
    assert after.batch([0], [False]).conditions["skull"].shape == (1, *tiny.LATENT)


def test_small_networks_are_given_images_as_latents_and_full_ones_are_not(tmp_path):
    tiny.write_packs(tmp_path)
    manifest, specs = find_pack(tmp_path / "tiny").backbone, condition_specs(NAMES)
    small = new_control(ControlSettings(backbone="tiny", conditions=NAMES), manifest, specs)
    assert small.latent_conditions == ("skull",) and small.preparers["skull"] == "head-latent"
    network = small.network
    assert "typical_ventricles" in network.state_dict() and "typical_skull" not in network.state_dict()
    two_levels = {"encoder": {"channels": [8, 8]}}
    settings = ControlSettings(backbone="tiny", conditions=NAMES, variant="released", network=two_levels)
    assert "as_latents" not in network_config(manifest, specs, settings.variant, settings.network)
