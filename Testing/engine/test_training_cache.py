"""The latent cache."""

import numpy as np
import pytest
import tiny
import torch
from small_cohort import write_cohort, write_latents
from vcm.errors import VcmError
from vcm.grid import Grid
from vcm.training.latent_cache import write_cache


@pytest.fixture(scope="module")
def backbone():
    return tiny.backbone(prediction="v")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


def test_an_item_is_the_case_and_the_next_its_mirror_image(backbone, cases, tmp_path):
    cache = write_latents(backbone, cases, tmp_path)
    image = torch.from_numpy(cases[1].read("image").array)[None, None]
    mask = torch.from_numpy(cases[1].read("labels").array == 4).float()[None, None]
    with torch.no_grad():
        plain, mirrored = backbone.encode(image), backbone.encode(image.flip(2))
    batch = cache.batch([2, 3])
    assert len(cache) == 2 * len(cases)
    assert torch.allclose(batch.latent[:1], plain, atol=0.1)
    assert torch.allclose(batch.latent[1:], mirrored, atol=0.1)
    assert (plain - mirrored).abs().max() > 0.5  # else the two lines above would say nothing
    assert torch.equal(batch.conditions["ventricles"], torch.cat([mask, mask.flip(2)]))
    assert torch.equal(batch.attributes[0], batch.attributes[1])
    assert batch.attributes[0].tolist() == pytest.approx([1.0, 0.3, 0.1, 0.5])


def test_what_is_cached_is_not_encoded_again(backbone, cases, tmp_path):
    write_latents(backbone, cases, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_latents(backbone, cases, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_truncated_file_is_made_again(backbone, cases, tmp_path):
    expected = write_latents(backbone, cases, tmp_path).latents
    damaged = tmp_path / "00001.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert torch.equal(write_latents(backbone, cases, tmp_path).latents, expected)


def test_latents_of_another_autoencoder_are_made_again(backbone, cases, tmp_path):
    write_latents(backbone, cases, tmp_path)
    other = tiny.backbone(prediction="v", seed=3)
    fresh = write_latents(other, cases, tmp_path, fingerprint="b" * 64).latents
    assert torch.equal(fresh, write_latents(other, cases, tmp_path / "elsewhere", fingerprint="b" * 64).latents)


def test_a_new_condition_is_added_to_an_old_cache(backbone, cases, tmp_path):
    write_latents(backbone, cases, tmp_path)
    for _ in write_cache(backbone, "a" * 64, cases, ("ventricles", "brain"), tmp_path):
        pass
    from vcm.training.latent_cache import LatentCache

    brain = LatentCache(tmp_path, ["00000"], ("brain",), tiny.GRID.shape).batch([0]).conditions["brain"]
    labels = cases[0].read("labels").array
    assert np.array_equal(brain[0, 0].numpy() > 0, (labels > 0) & (labels != 7))


def test_a_case_on_another_grid_is_refused(backbone, tmp_path):
    shifted = Grid(tiny.GRID.shape, tiny.GRID.affine + _offset(3.0))
    cases = write_cohort(tmp_path, 1, shifted)
    with pytest.raises(VcmError, match="lies on a grid"):
        write_latents(backbone, cases, tmp_path / "latents")


def _offset(mm):
    offset = np.zeros((4, 4))
    offset[0, 3] = mm
    return offset
