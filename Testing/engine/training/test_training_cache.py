"""The latent cache."""

import numpy as np
import pytest
import tiny
import torch
from phantoms import ALL_ORIENTATIONS, grid_in, head_labels, ramp, world_of
from small_cohort import write_cohort, write_latents
from vcm.cohort.learning_cases import CohortCase, condition_specs
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.training.data import latent_cache
from vcm.training.data.image_cache import ImageCache
from vcm.training.data.latent_cache import cache_cases
from vcm.training.trainer.team import Team

ALL = ("ventricles", "brain", "skull", "semantics")


@pytest.fixture(scope="module")
def backbone():
    return tiny.backbone(prediction="v")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def own_cases(tmp_path):
    return write_cohort(tmp_path / "cohort")


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_an_item_is_a_case_as_it_is_or_mirrored(backbone, cases, tmp_path):
    cache = write_latents(backbone, cases, tmp_path)
    image = torch.from_numpy(cases[1].read("image").array)[None, None]
    mask = torch.from_numpy(cases[1].read("labels").array == 4).float()[None, None]
    with torch.no_grad():
        plain, mirrored = backbone.encode(image), backbone.encode(image.flip(2))
    batch = cache.batch([1, 1], [False, True])
    assert len(cache) == len(cases)
    assert torch.allclose(batch.latent[:1], plain, atol=0.1)
    assert torch.allclose(batch.latent[1:], mirrored, atol=0.1)
    assert (plain - mirrored).abs().max() > 0.5  # else the two lines above would say nothing
    assert torch.equal(batch.conditions["ventricles"], torch.cat([mask, mask.flip(2)]))
    assert batch.attributes[0].tolist() == batch.attributes[1].tolist() == pytest.approx([1.0, 0.3, 0.1, 0.5])


def test_conditions_of_every_kind_are_kept(backbone, cases, tmp_path):
    batch = write_latents(backbone, cases, tmp_path, ALL).batch([2], [True])
    labels = np.flip(cases[2].read("labels").array, 0)
    skull = np.flip(cases[2].read("skull").array, 0)
    assert np.array_equal(batch.conditions["brain"][0, 0].numpy() > 0, (labels > 0) & (labels != 7))
    assert batch.conditions["semantics"].shape == (1, 8, *tiny.GRID.shape)
    assert np.array_equal(batch.conditions["semantics"][0, 6].numpy() > 0, labels == 7)
    assert np.abs(batch.conditions["skull"][0, 0].numpy() - skull).max() <= 0.5 / 255 + 1e-6


def test_the_spread_is_that_of_the_posterior(backbone, cases, tmp_path):
    batch = write_latents(backbone, cases, tmp_path).batch([0], [False])
    with torch.no_grad():
        _, spread = backbone.autoencoder.encode(torch.from_numpy(cases[0].read("image").array)[None, None])
    assert torch.allclose(batch.spread, spread, rtol=0.05, atol=0.02)


def test_what_is_cached_is_not_encoded_again(backbone, cases, tmp_path):
    write_latents(backbone, cases, tmp_path)
    before = times(tmp_path)
    write_latents(backbone, cases, tmp_path)
    assert times(tmp_path) == before


@pytest.mark.parametrize("harm", ["cut short", "a flipped bit"])
def test_a_damaged_file_is_made_again(backbone, cases, tmp_path, harm):
    expected = write_latents(backbone, cases, tmp_path).latents
    damaged = tmp_path / "00001.safetensors"
    content = bytearray(damaged.read_bytes())
    if harm == "cut short":
        content = content[:100]
    else:
        content[-300] ^= 4
    damaged.write_bytes(content)
    assert torch.equal(write_latents(backbone, cases, tmp_path).latents, expected)
    assert damaged.read_bytes() != bytes(content)


def test_latents_of_another_autoencoder_are_made_again(backbone, cases, tmp_path):
    write_latents(backbone, cases, tmp_path)
    other = tiny.backbone(prediction="v", seed=3)
    fresh = write_latents(other, cases, tmp_path, fingerprint="b" * 64).latents
    assert torch.equal(fresh, write_latents(other, cases, tmp_path / "elsewhere", fingerprint="b" * 64).latents)


def test_a_case_that_has_changed_is_encoded_again(backbone, own_cases, tmp_path):
    before = write_latents(backbone, own_cases, tmp_path / "latents").latents
    image = own_cases[0].folder / "image.nii.gz"
    image.write_bytes((own_cases[2].folder / "image.nii.gz").read_bytes())
    after = write_latents(backbone, own_cases, tmp_path / "latents").latents
    assert torch.equal(after[0], before[2]) and torch.equal(after[1], before[1])


def test_a_new_condition_is_added_to_an_old_cache(backbone, cases, tmp_path):
    write_latents(backbone, cases, tmp_path)
    assert (
        write_latents(backbone, cases, tmp_path, ("ventricles", "brain")).batch([0], [False]).conditions["brain"].any()
    )


def test_for_another_condition_the_image_is_not_encoded_again_and_the_first_is_kept(
    backbone, cases, tmp_path, monkeypatch
):
    first = write_latents(backbone, cases, tmp_path)
    monkeypatch.setattr(backbone.autoencoder, "encode", None)
    both = write_latents(backbone, cases, tmp_path, ("brain",))
    assert torch.equal(both.latents, first.latents)
    before = times(tmp_path)
    again = write_latents(backbone, cases, tmp_path)
    assert times(tmp_path) == before
    mask = first.batch([1], [True]).conditions["ventricles"]
    assert torch.equal(again.batch([1], [True]).conditions["ventricles"], mask)


def test_a_corrupt_case_is_told_and_left_out(backbone, own_cases, tmp_path):
    image = own_cases[1].folder / "image.nii.gz"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    learned = [CohortCase(case, backbone.grid) for case in own_cases]
    said = []
    specs = condition_specs(["ventricles"])
    usable = cache_cases(backbone, "a" * 64, learned, specs, tmp_path / "latents", Team("cpu"), said.append)
    assert [case.name for case in usable] == ["00000", "00002"]
    assert len(said) == 1 and "Case 00001 is left out" in said[0]


def test_where_no_case_is_whole_there_is_nothing_to_learn_from(backbone, own_cases, tmp_path):
    for case in own_cases:
        (case.folder / "labels.nii.gz").unlink()
    with pytest.raises(VcmError, match="can be used for training") as caught:
        write_latents(backbone, own_cases, tmp_path / "latents")
    assert caught.value.code is Code.BAD_REQUEST


def test_a_case_on_another_grid_is_left_out(backbone, tmp_path, capsys):
    shifted = Grid(tiny.GRID.shape, tiny.GRID.affine + _offset(3.0))
    with pytest.raises(VcmError, match="can be used for training"):
        write_latents(backbone, write_cohort(tmp_path, 1, shifted), tmp_path / "latents")
    assert "lies on a grid" in capsys.readouterr().out


def test_a_cohort_of_twice_the_resolution_is_averaged(tmp_path):
    coarse = tiny.GRID.downsampled([n // 2 for n in tiny.GRID.shape])
    (entry,) = write_cohort(tmp_path, 1)
    case = CohortCase(entry, coarse)
    image = entry.read("image").array
    assert case.image().shape == coarse.shape
    assert case.image()[1, 2, 3] == pytest.approx(image[2:4, 4:6, 6:8].mean(), abs=1e-6)
    labels = entry.read("labels").array
    assert set(np.unique(case.labels())) <= set(np.unique(labels))
    assert case.conditions(condition_specs(["brain"]))["brain"].shape == coarse.shape


def test_one_cache_serves_a_backbone_before_and_after_its_latents_are_whitened(cases, tmp_path, monkeypatch):
    """A control is taught after the denoiser, whose training whitened the latents: no image is encoded again."""
    plain, whitened = tiny.backbone(), tiny.backbone(packing=2)
    whitened.autoencoder.load_state_dict(plain.autoencoder.state_dict())
    mean, std = whitened.own_whitening()
    assert mean.abs().mean() > 0.5 and std.std() > 0.1
    before = write_latents(plain, cases, tmp_path)
    with monkeypatch.context() as never:
        never.setattr(type(whitened), "posterior", lambda *_: pytest.fail("an image was encoded again"))
        after = write_latents(whitened, cases, tmp_path)
    assert not torch.allclose(before.latents, after.latents, atol=0.1)
    fresh = write_latents(whitened, cases, tmp_path / "elsewhere")
    for one, other in ((after.latents, fresh.latents), (after.spreads, fresh.spreads)):
        assert torch.allclose(one.float(), other.float(), atol=0.02)
    image = torch.from_numpy(CohortCase(cases[1], whitened.grid).image())[None, None]
    with torch.no_grad():
        expected, spread = whitened.posterior(image)
    assert torch.allclose(after.latents[1, :1].float(), expected, atol=0.05)
    assert torch.allclose(after.spreads[1, :1].float(), spread, atol=0.02)


def test_the_typical_condition_is_the_same_mirrored(backbone, cases, tmp_path):
    cache = write_latents(backbone, cases, tmp_path)
    typical = cache.typical(cache.specs[0], (8, 12, 16))
    assert torch.allclose(typical, typical.flip(1))
    masks = torch.stack([torch.from_numpy(c.read("labels").array == 4).float() for c in cases])
    assert typical.mean().item() == pytest.approx(masks.mean().item(), rel=1e-4)


def test_the_cache_lies_on_an_nvidia_gpu_that_has_room_and_nowhere_else(monkeypatch):
    monkeypatch.setattr(latent_cache, "free_memory", lambda device: 1000)
    lies = {(name, size): latent_cache._room_for(size, torch.device(name)).type
            for name in ("cuda", "mps", "cpu") for size in (249, 251)}  # fmt: skip
    assert lies == {("cuda", 249): "cuda", **{key: "cpu" for key in lies if key != ("cuda", 249)}}


def test_a_file_that_goes_bad_after_it_was_looked_at_is_no_silent_gap(backbone, cases, tmp_path):
    cache = write_latents(backbone, cases, tmp_path)
    learned = [CohortCase(case, backbone.grid) for case in cases]
    (tmp_path / "00001.safetensors").write_bytes(b"nothing")
    with pytest.raises(VcmError, match="case 00001"):
        latent_cache.LatentCache(tmp_path, learned, "a" * 64, cache.specs, backbone)


class Plain:
    """A backbone whose latent is the image itself."""

    attributes = ()

    def __init__(self, grid):
        self.grid = grid

    def parameters(self):
        return iter([torch.zeros(1)])

    def posterior(self, image):
        return image, torch.zeros_like(image)

    def own_whitening(self):
        return torch.zeros(()), torch.ones(())

    def typical_image(self):
        return None


class OneHead:
    """The phantom head as a case, painted by its millimetres, with everything that a case can be asked for."""

    name, stamp, attributes = "one", "", {}

    def __init__(self, grid):
        self.grid, self._labels = grid, head_labels(grid, np.uint8).array

    def image(self):
        return ramp(self.grid, dtype=np.float32).array / 100

    def labels(self):
        return self._labels

    def conditions(self, specs):
        return {"ventricles": self._labels == 2, "skull": self.image()}


@pytest.mark.parametrize("orientation", ALL_ORIENTATIONS)
def test_in_every_orientation_the_mirrored_item_is_the_head_with_left_and_right_exchanged(orientation, tmp_path):
    grid = grid_in(orientation, (12, 16, 20), (4.0, 5.0, 6.0))
    case, specs = OneHead(grid), condition_specs(["ventricles", "skull"])
    mirrored = world_of(grid)
    mirrored[..., 0] = 2 * grid.centre[0] - mirrored[..., 0]
    index = np.rint(grid.to_voxel(mirrored)).astype(int)
    assert np.allclose(grid.to_world(index), mirrored)
    at = tuple(np.moveaxis(index, -1, 0))

    latent_cache.write_case(tmp_path, case, "a", latent_cache.encode_case(Plain(grid), case, specs))
    cache = latent_cache.LatentCache(tmp_path, [case], "a", specs, Plain(grid))
    batch = cache.batch([0, 0], [False, True])
    typical = cache.typical(specs[0], grid.shape)[0].numpy()
    images = ImageCache([case], True, print)
    seen = {
        "latents": (batch.latent[:, 0], case.image(), 1e-3),
        "image": (batch.conditions["skull"][:, 0], case.image(), 1 / 255),
        "mask": (batch.conditions["ventricles"][:, 0], case.labels() == 2, 0),
        "cached image": (images.image([0, 0], [False, True], "cpu")[:, 0], case.image(), 1e-3),
        "cached labels": (images.label([0, 0], [False, True], "cpu")[:, 0], case.labels(), 0),
    }
    for what, (found, wanted, within) in seen.items():
        expected = np.asarray(wanted, np.float32).clip(*((0, 1) if what == "image" else (-9, 9)))
        assert np.abs(found[0].numpy() - expected).max() <= within, what
        assert np.array_equal(found[1].numpy(), found[0].numpy()[at]), what
        assert not np.array_equal(expected, expected[at]), what
    mask = (case.labels() == 2).astype(np.float32)
    assert np.allclose(typical, (mask + mask[at]) / 2)


def _offset(mm):
    offset = np.zeros((4, 4))
    offset[0, 3] = mm
    return offset
