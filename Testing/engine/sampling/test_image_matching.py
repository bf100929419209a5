"""A finished sample is brought to what an image condition shows, and nowhere else, and only where it is to be."""

import numpy as np
import pytest
import tiny
import torch
from image_conditions import control_of, skull
from torch.nn import functional
from vcm.conditions.attributes import resolve
from vcm.conditions.condition import Condition, ConditionSpec
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.machine.runtime import choose_runtime
from vcm.models.loading import load_backbone
from vcm.models.preparers.image_matching import ImageMatcher
from vcm.packs.store import find_pack
from vcm.sampling.generator import Generator, seeded_noise
from vcm.sampling.loop import finishing, sample_latents
from vcm.sampling.request import GenerateRequest

BLOCK = 4
PLACES = tuple(n // BLOCK for n in tiny.GRID.shape)


class Blocks:
    """An autoencoder that is exact for images made of blocks: their means, doubled, and back, with a scale of 2."""

    grid, scale_factor = tiny.GRID, 2.0

    def encode(self, image):
        return functional.avg_pool3d(image, BLOCK) * self.scale_factor

    def decode(self, latent, scale_factor=None):
        return functional.interpolate(latent / (scale_factor or self.scale_factor), scale_factor=BLOCK)


def blocks(seed):
    """A latent of `Blocks` whose image is 0.2–0.9."""
    return torch.rand(1, 1, *PLACES, generator=torch.Generator().manual_seed(seed)) * 1.4 + 0.4


def head(hole=True):
    """A head of blocks without a brain, off every middle, as the image condition; and which blocks it shows."""
    image = Blocks().decode(blocks(5))[0, 0].numpy().copy()
    shown = np.ones(PLACES, bool)
    if hole:
        shown[1:3, 1:5, 2:7] = False
    image[~shown.repeat(BLOCK, 0).repeat(BLOCK, 1).repeat(BLOCK, 2)] = 0
    return image, torch.from_numpy(shown)


def finished(control, conditions):
    """Whether anything is done with a finished latent for the sake of these conditions."""
    return len(finishing(control, conditions, tiny.backbone()))


def matched(latent, *conditions, scale_factor=None):
    return ImageMatcher(Blocks(), conditions)(latent, scale_factor)


def test_what_is_shown_is_taken_over_and_the_hole_stays_as_it_was():
    image, shown = head()
    before = blocks(8)
    after = matched(before, skull(image))
    wanted = Blocks().encode(torch.from_numpy(image)[None, None])
    assert torch.allclose(after[0, 0][shown], wanted[0, 0][shown], atol=1e-5)
    assert torch.allclose(after[0, 0][~shown], before[0, 0][~shown], atol=1e-5)
    assert (after - before)[0, 0][shown].abs().mean() > 0.2


def test_a_place_that_reaches_into_the_hole_stays_as_it_was():
    image, shown = head()
    image[4:12, 4:20, 2 * BLOCK - 1] = 0  # the hole's face, moved one slice into the places beside it
    image[4:12, 4:20, 7 * BLOCK : 8 * BLOCK - 1] = 0  # and, on the other side, all but one slice
    shown[1:3, 1:5, 1] = shown[1:3, 1:5, 7] = False
    before, wanted = blocks(8), Blocks().encode(torch.from_numpy(head()[0])[None, None])
    after = matched(before, skull(image))
    assert torch.equal(after[0, 0][~shown], before[0, 0][~shown])
    assert torch.allclose(after[0, 0][shown], wanted[0, 0][shown], atol=1e-5)


def test_each_latent_of_a_batch_is_moved_by_itself():
    image, _ = head()
    both = matched(torch.cat([blocks(8), blocks(9)]), skull(image))
    assert torch.equal(both, torch.cat([matched(blocks(8), skull(image)), matched(blocks(9), skull(image))]))


def test_a_control_with_a_scale_of_its_own_is_moved_in_that_scale():
    image, shown = head()
    after = matched(blocks(8), skull(image), scale_factor=0.5)
    assert torch.allclose(Blocks().decode(after, 0.5)[0, 0, ::4, ::4, ::4][shown],
                          torch.from_numpy(image)[::4, ::4, ::4][shown], atol=1e-5)  # fmt: skip


def test_strength_and_region_go_a_part_of_the_way():
    image, shown = head()
    before, wanted = blocks(8), Blocks().encode(torch.from_numpy(image)[None, None])
    spec = skull(image).spec
    region = np.zeros(tiny.GRID.shape, np.float32)
    region[8:] = 1
    half = matched(before, Condition(spec, Volume(image, tiny.GRID), strength=0.5))
    assert torch.allclose(half[0, 0][shown], ((before + wanted) / 2)[0, 0][shown], atol=1e-5)
    strong = matched(before, Condition(spec, Volume(image, tiny.GRID), strength=3.0))
    assert torch.allclose(strong[0, 0][shown], wanted[0, 0][shown], atol=1e-5)
    part = matched(before, Condition(spec, Volume(image, tiny.GRID), region=Volume(region, tiny.GRID)))
    assert torch.allclose(part[0, 0, :2], before[0, 0, :2], atol=1e-5)
    assert torch.allclose(part[0, 0, 2:][shown[2:]], wanted[0, 0, 2:][shown[2:]], atol=1e-5)


def test_only_images_that_hold_at_the_end_and_are_the_backbones_own_are_matched():
    image, _ = head()
    spec = skull(image).spec
    mask = Condition(ConditionSpec.from_dict(tiny.CONDITIONS[0]), Volume(image > 0, tiny.GRID))
    whole, early, off = (Condition(spec, Volume(image, tiny.GRID), **o) for o in ({}, {"end": 0.8}, {"strength": 0.0}))
    takes_latents, takes_voxels = control_of("skull"), control_of()
    assert finished(takes_latents, [mask, whole])
    complete, _ = head(hole=False)
    complete[4:8, 8:12, 8:16] = 0  # too small to have been a brain
    assert not finished(takes_latents, [skull(complete)])  # the sample would get its brain
    for control, given in ((takes_latents, [early]), (takes_latents, [off]), (takes_voxels, [whole]), (None, [whole])):
        assert not finished(control, given)


def test_it_is_a_stage_of_its_own_that_the_twin_does_without_and_after_which_one_can_cancel():
    image, _ = head()
    generator = Generator(tiny.backbone(), control_of("skull"), choose_runtime("cpu"))
    request = GenerateRequest(resolve(tiny.backbone().attributes), (skull(image),), steps=2, uncontrolled=True)
    seen = []
    (sample,) = generator.generate(request, seen.append)
    stages = ["sampling"] * 2 + ["matching", "decoding", "uncontrolled decoding"]
    assert [progress.stage for progress in seen] == stages and seen[-1].fraction == pytest.approx(1.0)
    assert set(sample.seconds) == set(stages)
    seen.clear()
    with pytest.raises(VcmError, match="cancelled"):
        list(generator.generate(request, seen.append, cancelled=lambda: len(seen) == 3))
    assert seen[-1].stage == "matching"


@torch.no_grad()
def test_the_image_of_the_backbone_that_ships_comes_nearer_to_the_skull_and_its_brain_stays():
    """With an autoencoder that blurs and looks at the whole image: another head's skull, and the own brain."""
    backbone = load_backbone(find_pack("brainldm-mini"))
    attributes = resolve(backbone.attributes)
    sampled = Generator(backbone, None, choose_runtime("cpu")).generate(
        GenerateRequest(attributes, seed=3, samples=2, steps=6)
    )
    here, other = (torch.from_numpy(sample.volume.array)[None, None] for sample in sampled)
    image = other[0, 0].clamp(0, 1).numpy().copy()
    i, j, k = np.indices(image.shape)
    inside = ((i - 40) / 24) ** 2 + ((j - 56) / 34) ** 2 + ((k - 44) / 24) ** 2 < 1
    image[inside] = 0
    condition = Condition(ConditionSpec.from_dict({"name": "skull", "kind": "image"}), Volume(image, backbone.grid))
    before = backbone.encode(here)
    moved = ImageMatcher(backbone, [condition])(before)
    shows = torch.from_numpy(image > 0.02)
    deep = torch.from_numpy(((i - 40) / 16) ** 2 + ((j - 56) / 26) ** 2 + ((k - 44) / 16) ** 2 < 1)

    def error(latent, where, wanted):
        return (backbone.decode(latent)[0, 0] - wanted)[where].square().mean().item()

    given = torch.from_numpy(image)
    assert error(moved, shows, given) < error(before, shows, given) / 4
    assert error(moved, deep, here[0, 0]) < 2 * error(before, deep, here[0, 0])


@torch.no_grad()
def test_a_validation_samples_as_generate_does_also_in_what_it_does_at_the_end():
    image, _ = head()
    backbone, control = tiny.backbone(), control_of("skull")
    attributes = resolve(backbone.attributes)
    request = GenerateRequest(attributes, (skull(image),), steps=3, seed=8)
    (sample,) = Generator(backbone, control, choose_runtime("cpu")).generate(request)
    inputs, noise = torch.tensor([[value.raw for value in attributes]]), seeded_noise(8, backbone.latent_shape)[None]
    backbone.slab_bytes = None
    latent = sample_latents(backbone, inputs, noise, control, [skull(image)], steps=3)
    assert np.allclose(backbone.decode(latent)[0, 0].numpy(), sample.volume.array, atol=1e-4)
