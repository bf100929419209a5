"""The pack's segmenter on any Grid, and who is chosen to judge."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from vcm.conditions.condition import ClassSpec
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.segmentation import PackSegmenter, choose_segmenter
from vcm.packs.store import Pack, default_backbone, find_pack
from vcm.volumes.resampling import resample_image

LAS = Grid((20, 28, 18), [[-2, 0, 0, 19], [0, 2, 0, -30], [0, 0, 2, 4], [0, 0, 0, 1]])
CLASSES = (ClassSpec(1, "grey matter"), ClassSpec(2, "white matter"))


class Thresholds(nn.Module):
    """Label 0 below 0.3, 1 up to 0.7, 2 above; remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.seen = None

    def forward(self, x):
        self.seen = x
        return torch.cat([0.3 - x, 0.2 - (x - 0.5).abs(), x - 0.7], dim=1) * self.weight


def head():
    """Intensities of two structures, none of them symmetric in any axis."""
    image = np.zeros(LAS.shape, np.float32)
    image[3:13, 5:22, 2:11] = 0.5
    image[4:9, 14:21, 3:8] = 0.9
    return Volume(image, LAS)


def labels_of(image):
    return np.digitize(image.array, [0.3, 0.7]).astype(np.uint8)


def test_labels_lie_where_the_structures_are():
    found = PackSegmenter(Thresholds(), CLASSES, LAS).segment(head())
    assert found.array.dtype == np.uint8
    assert np.array_equal(found.array, labels_of(head()))


@pytest.mark.parametrize(
    "affine",
    [
        [[2, 0, 0, -19], [0, 2, 0, -30], [0, 0, 2, 4], [0, 0, 0, 1]],  # RAS
        [[0, 0, 2, -19], [-2, 0, 0, 24], [0, 2, 0, 4], [0, 0, 0, 1]],  # PSR
    ],
)
def test_an_image_in_another_orientation_gets_its_labels_on_its_own_grid(affine):
    sizes = {"R": 20, "P": 28, "S": 18, "A": 28}
    probe = Grid((2, 2, 2), affine).orientation
    grid = Grid([sizes[letter] for letter in probe], affine)
    turned = resample_image(head(), grid)
    assert turned.array.max() == pytest.approx(0.9)
    network = Thresholds()
    found = PackSegmenter(network, CLASSES, LAS).segment(turned)
    assert found.grid.same_as(grid)
    assert np.array_equal(found.array, labels_of(turned))
    assert np.allclose(network.seen[0, 0].numpy(), head().array)


def test_a_finer_image_gets_labels_as_fine_as_itself():
    fine = Grid((40, 56, 36), [[-1, 0, 0, 19.5], [0, 1, 0, -30.5], [0, 0, 1, 3.5], [0, 0, 0, 1]])
    image = Volume(head().array.repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    found = PackSegmenter(Thresholds(), CLASSES, LAS).segment(image)
    assert found.grid.same_as(fine)
    assert (found.array == labels_of(image)).mean() > 0.99


def test_values_beyond_0_to_1_are_clipped_before_the_network_sees_them():
    network = Thresholds()
    PackSegmenter(network, CLASSES, LAS).segment(Volume(head().array * 3 - 0.4, LAS))
    assert (float(network.seen.min()), float(network.seen.max())) == (0.0, 1.0)


def test_a_grid_that_does_not_divide_by_the_strides_is_padded_and_cropped_again():
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    network = UNet(spatial_dims=3, in_channels=1, out_channels=3, channels=(4, 8, 8), strides=(2, 2))
    grid = Grid((21, 26, 19), LAS.affine)
    with pytest.raises(RuntimeError):
        network(torch.rand(1, 1, *grid.shape))
    image = Volume(np.random.default_rng(1).random(grid.shape, np.float32), grid)
    assert PackSegmenter(network, CLASSES, grid).segment(image).array.shape == grid.shape


def test_no_structure_is_found_where_it_cannot_be():
    """Its voxels are background. The places are unlike along each axis."""
    places = torch.ones(3, *LAS.shape, dtype=torch.bool)
    places[2, :, 17:, 5:] = False
    places[1, 6:, 18:, 6:] = False
    found = PackSegmenter(Thresholds(), CLASSES, LAS, places=places).segment(head()).array
    expected = labels_of(head())
    elsewhere = {
        1: (slice(6, None), slice(18, None), slice(6, None)),
        2: (slice(None), slice(17, None), slice(5, None)),
    }
    for label, place in elsewhere.items():
        expected[place][expected[place] == label] = 0
    assert 0 < np.count_nonzero(expected) < np.count_nonzero(labels_of(head()))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("one_piece", [False, True])
def test_of_a_head_in_one_piece_what_lies_beside_it_is_left_out(one_piece):
    """Scalp seen as brain, joined to it by a thread."""
    image = head()
    image.array[16:20, 2:6, 13:17] = 0.9
    image.array[13:17, 5, 9:14] = 0.5
    found = PackSegmenter(Thresholds(), CLASSES, LAS, one_piece=one_piece).segment(image).array
    expected = labels_of(head()) if one_piece else labels_of(image)
    beside = np.s_[17:20, 2:6, 13:17]
    assert found[beside].any() == (not one_piece)
    assert np.array_equal(found[3:13, 5:22, 2:11], expected[3:13, 5:22, 2:11])


@pytest.fixture
def no_freesurfer(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FREESURFER_HOME", raising=False)


@pytest.fixture
def freesurfer(monkeypatch, tmp_path):
    script = tmp_path / "mri_synthseg"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return script


def embedded(**changes):
    pack = find_pack(default_backbone())
    return Pack(pack.folder, replace(pack.backbone, **changes))


def without_segmenter():
    manifest = embedded().backbone
    return embedded(
        files={role: file for role, file in manifest.files.items() if role != "segmenter"},
        networks={role: kwargs for role, kwargs in manifest.networks.items() if role != "segmenter"},
        segmenter_classes=(),
    )


def test_the_embedded_pack_judges_for_itself_even_where_freesurfer_is_installed(freesurfer):
    choice = choose_segmenter(embedded(trained={**embedded().backbone.trained, "segmenter": True}))
    assert isinstance(choice.segmenter, PackSegmenter)
    assert choice.sentence == "Samples are measured by the own segmenter of brainldm-mini."
    found = choice.segmenter.segment(Volume(np.zeros(choice.segmenter.grid.shape), choice.segmenter.grid))
    assert found.array.max() < len(choice.segmenter.classes) + 1


def test_a_pack_without_a_segmenter_is_judged_by_freesurfer_where_that_is_installed(freesurfer):
    choice = choose_segmenter(without_segmenter())
    assert choice.segmenter.executable == freesurfer
    assert "mri_synthseg" in choice.sentence


def test_without_any_segmenter_the_run_goes_on_unmeasured_and_says_why(no_freesurfer):
    choice = choose_segmenter(without_segmenter())
    assert choice.segmenter is None
    assert choice.sentence.startswith("Samples are not measured. brainldm-mini has no segmenter.")


def test_an_untrained_segmenter_judges_only_when_asked_and_with_a_warning(no_freesurfer):
    pack = embedded(trained={**embedded().backbone.trained, "segmenter": False})
    assert choose_segmenter(pack).segmenter is None
    assert "measurements mean nothing" in choose_segmenter(pack, "pack").sentence


def test_insisting_on_a_segmenter_that_is_not_there_is_refused(no_freesurfer):
    with pytest.raises(VcmError, match="was not found on PATH"):
        choose_segmenter(embedded(), "synthseg")
    with pytest.raises(VcmError, match="has no segmenter of its own"):
        choose_segmenter(without_segmenter(), "pack")
    with pytest.raises(VcmError, match="must be one of auto, pack, synthseg"):
        choose_segmenter(embedded(), "freesurfer")


def test_freesurfer_does_not_judge_a_pack_that_numbers_its_structures_otherwise(freesurfer):
    with pytest.raises(VcmError, match="its label 4 is deep grey matter, not lateral ventricles"):
        choose_segmenter(embedded(segmenter_classes=(ClassSpec(4, "deep grey matter"),)), "synthseg")


def test_freesurfer_can_judge_the_embedded_pack(freesurfer):
    assert choose_segmenter(embedded(), "synthseg").segmenter.executable == freesurfer


def test_a_manifest_whose_segmenter_cannot_be_built_is_told_in_a_sentence():
    pack = embedded(networks={**embedded().backbone.networks, "segmenter": {"spatial_dims": 3, "depth": 7}})
    with pytest.raises(VcmError, match="describes a network for its segmenter that cannot be built") as caught:
        choose_segmenter(pack, "pack")
    assert caught.value.code is Code.PACK_INVALID
