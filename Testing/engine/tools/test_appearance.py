"""Appearance against what is known: filtered noise, mirrored brains, and the power that training measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from appearance import common_brain, likeness_of_sides, on_grid, table
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.training.backbone.spectral_power import band_power
from vcm.volumes.volume_files import write_volume

SPACING = (1.0, 2.0, 3.0)
SHAPE = (24, 20, 16)
GRID = Grid(SHAPE, np.diag([-1.0, 2, 3, 1]))


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_wave_has_its_power_in_the_band_of_its_length_along_every_axis(axis):
    size, step = SHAPE[axis], SPACING[axis]
    wave = np.sin(2 * np.pi * np.arange(size) * 2 / size)
    image = np.moveaxis(np.broadcast_to(wave, (*np.delete(SHAPE, axis), size)), -1, axis)
    length = size * step / 2
    bands = [(low * length, high * length) for low, high in ((0.9, 1.1), (0.4, 0.8))]
    within, beside = (band_power(torch.from_numpy(image.copy()), SPACING, band) for band in bands)
    assert within > 1e6 * beside


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sides_are_alike_only_where_left_and_right_are(axis):
    brain = np.zeros(SHAPE, bool)
    brain[2:-2, 3:-3, 4:-4] = True
    image = noise(3)
    mirrored = image + np.flip(image, axis)
    assert likeness_of_sides(mirrored, brain, axis) == pytest.approx(1, abs=1e-6)
    assert abs(likeness_of_sides(image, brain, axis)) < 0.15
    assert likeness_of_sides(image - np.flip(image, axis), brain, axis) == pytest.approx(-1, abs=1e-6)


def test_the_common_brain_is_where_most_have_it_on_both_sides():
    brains = [np.zeros(SHAPE, bool) for _ in range(10)]
    for number, one in enumerate(brains):
        one[4:20, 5, 5] = True
        one[2, 5, 5] = True  # on one side alone
        one[8:16, 7, 7] = number < 8  # in too few
    found = common_brain(brains, 0)
    assert found.sum() == 16 and found[4:20, 5, 5].all()


def test_rows_name_the_cohort_first():
    rows = table([Volume(0.5 * noise(4), GRID)], [Volume(noise(4), GRID)], np.ones(SHAPE, bool))
    assert [round(ours, 6) for _, _, ours in rows[:3]] == [0.25] * 3
    assert rows[3][1] == pytest.approx(rows[3][2])


def test_an_image_that_lies_elsewhere_is_refused(tmp_path):
    elsewhere = tmp_path / "moved.nii.gz"
    write_volume(elsewhere, Volume(noise(5), Grid(SHAPE, np.diag([-1.0, 2, 3.1, 1]))), description="", synthetic=True)
    with pytest.raises(VcmError, match="does not lie on the cohort's grid"):
        on_grid([elsewhere], GRID)
