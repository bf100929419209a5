"""Lesions of made heads: where they lie, how large they are, and that nothing else changes."""

import numpy as np
import pytest
import torch
from label_map_folder import CLASS_OF_LABEL, GRID, SHAPE, description, head
from scipy.ndimage import binary_dilation
from typer.testing import CliRunner
from vcm.anatomy.structures import LESION
from vcm.cli.cohort import app
from vcm.cohort.files import read_cases
from vcm.cohort.making.heads import WHOLE_HEAD, CohortMaker
from vcm.cohort.making.label_maps import LabelMaps
from vcm.cohort.making.lesions import Lesion, Lesions
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.volumes.volume_files import write_volume

SEEDS = range(12)


def two_sided():
    """The lopsided head with its right half (i below 22) in the right side's labels."""
    labels = head()
    right = np.arange(SHAPE[0])[:, None, None] < 22
    return np.where(right & (labels == 2), 41, np.where(right & (labels == 3), 42, labels)).astype(np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import json

    folder = tmp_path_factory.mktemp("labelmaps")
    (folder / "labelmaps").mkdir()
    (folder / "labels.json").write_text(json.dumps(description({**CLASS_OF_LABEL, 25: 2, 57: 2})))
    labels = two_sided()
    labels[20:23, 46:50, 20:24] = 25
    write_volume(folder / "labelmaps" / "head_01.nii.gz", Volume(labels, GRID))
    return folder


@pytest.fixture(scope="module")
def maps(folder):
    return LabelMaps.open(folder)


def labels_with(maps, lesions):
    before, _ = maps.read(0)
    after = lesions.put_into(torch.from_numpy(before.copy()), maps.table).numpy()
    return maps.table.labels[before], maps.table.labels[after]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lesion_has_its_volume_in_white_matter_and_cortex_of_one_side(maps, seed):
    one = Lesion.draw(np.random.default_rng(seed))
    before, after = labels_with(maps, Lesions((one,)))
    changed = before != after
    assert len(set(after[changed])) == 1
    allowed = {25: (2, 3), 57: (41, 42)}[int(after[changed][0])]
    assert np.isin(before[changed], allowed).all()
    fits = min(round(one.ml * 1000), int(np.isin(before, allowed).sum()))
    assert 0.85 * fits <= changed.sum() <= fits  # what was a lesion before may be part of it


def test_volumes_lie_between_1_and_20_ml_and_both_tissues_are_met(maps):
    drawn = [Lesion.draw(np.random.default_rng(seed)).ml for seed in range(200)]
    assert 1 <= min(drawn) < 2 and 15 < max(drawn) <= 20
    tissues = [labels_with(maps, Lesions((Lesion.draw(np.random.default_rng(seed)),))) for seed in SEEDS]
    met = {int(label) for before, after in tissues for label in np.unique(before[before != after])}
    assert met == {2, 3, 41, 42}


def test_no_lesion_is_a_ball(maps):
    """A ball's surface grows with its volume to the power of two thirds; a ragged one has more."""
    for seed in SEEDS:
        before, after = labels_with(maps, Lesions((Lesion.draw(np.random.default_rng(seed)),)))
        there = np.pad(before != after, 1)
        faces = sum(np.diff(there.astype(int), axis=axis).astype(bool).sum() for axis in range(3))
        ball = 1.5 * (36 * np.pi) ** (1 / 3) * there.sum() ** (2 / 3)  # a ball of voxels shows one and a half times
        assert faces > 1.1 * ball


def test_the_label_maps_own_lesions_become_white_matter_where_they_are_not_kept(maps):
    before, after = labels_with(maps, Lesions(own=False))
    assert np.array_equal(before != after, before == 25)
    assert (after[before == 25] == 2).all()
    before, after = labels_with(maps, Lesions(own=True))
    assert np.array_equal(before, after)


def test_a_lesion_is_labelled_and_darker_than_white_matter(maps):
    maker = CohortMaker(maps, 3, lesions=1.0)
    plain = CohortMaker(maps, 3)
    for number in range(4):
        case, twin = maker.make(number), plain.make(number)
        there = case.labels.array == LESION
        assert there.sum() > 50
        assert case.image.array[there].mean() < 0.8 * case.image.array[case.labels.array == 1].mean()
        elsewhere = ~binary_dilation(there | (twin.labels.array == LESION), iterations=2)
        # A splinter may fill less than half of a voxel, and still decide what fills the most of it.
        assert np.mean(case.labels.array[elsewhere] == twin.labels.array[elsewhere]) > 0.995
        assert not case.skull.array[there].any()


def test_the_share_of_heads_with_lesions_is_that_which_was_asked_for():
    drawn = [Lesions.draw(np.random.default_rng(seed), 0.3) for seed in range(400)]
    assert sum(bool(one.new) for one in drawn) / 400 == pytest.approx(0.3, abs=0.07)
    assert {len(one.new) for one in drawn} == {0, 1, 2, 3}


def test_label_maps_that_know_no_lesions_are_refused(tmp_path):
    from label_map_folder import write_folder

    with pytest.raises(VcmError, match="--lesions 0") as caught:
        CohortMaker(LabelMaps.open(write_folder(tmp_path / "data")), 1, lesions=0.5)
    assert "25 or 57" in caught.value.sentence


@pytest.mark.parametrize(("name", "shape"), [("whole-head", WHOLE_HEAD.shape), ("labelmaps", (24, 32, 28))])
def test_the_command_makes_lesions_on_the_grid_of_its_choice(folder, tmp_path, name, shape):
    given = ["make", "--labelmaps", str(folder), "--count", "1", "--lesions", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, [*given, *(["--grid", name] if name == "labelmaps" else [])])
    assert result.exit_code == 0, result.output
    (entry,) = read_cases(tmp_path)
    volume = entry.read("labels")
    assert volume.grid.shape == shape and (volume.array == LESION).any()
    # The head lies where its label map lies, whatever the field of view.
    middle = volume.grid.to_world(np.argwhere(volume.array > 0).mean(axis=0))
    assert np.allclose(middle, GRID.to_world(np.argwhere(head() % 502 > 0).mean(axis=0)), atol=5)
