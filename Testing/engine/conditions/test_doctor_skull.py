"""What the doctor says of images that are given as a skull."""

import numpy as np
import pytest
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.conditions.doctor import examine
from vcm.core.findings import Level
from vcm.core.grid import Grid
from vcm.core.volume import Volume

GRID = Grid((40, 52, 44), [[-4, 0, 0, 80], [0, 4, 0, -110], [0, 0, 4, -70], [0, 0, 0, 1]])
SKULL = ConditionSpec("skull", Kind.IMAGE)


def ellipsoid(*radii, centre=(20, 26, 20)):
    axes = np.ogrid[tuple(slice(n) for n in GRID.shape)]
    return sum(((i - c) / r) ** 2 for i, c, r in zip(axes, centre, radii, strict=True)) <= 1


HEAD, BRAIN = ellipsoid(18, 24, 22), ellipsoid(13, 17, 14)
SHADES = np.random.default_rng(1).uniform(0.3, 0.9, GRID.shape).astype(np.float32)


def found(array, spec=SKULL):
    return examine(spec, Volume(array.astype(np.float32), GRID), GRID)


def test_a_skull_without_its_brain_is_usable_without_a_word():
    examination = found(np.where(HEAD & ~BRAIN, SHADES, 0))
    assert examination.condition is not None and examination.findings == ()


def test_a_brain_without_its_skull_is_refused_with_what_to_give():
    examination = found(np.where(BRAIN, SHADES, 0))
    (finding,) = examination.findings
    assert (finding.level, finding.code, examination.condition) == (Level.ERROR, "NO_SKULL", None)
    assert "brain alone" in finding.sentence and "set to 0" in finding.remedy


def test_the_noise_of_air_and_a_large_brain_do_not_make_a_skull():
    """ICBM's brain alone fills 0.30 of the model's field of view, and 0.33 where it is a tenth larger."""
    noise = np.hypot(*np.random.default_rng(2).normal(0, 0.01, (2, *GRID.shape)))
    large = ellipsoid(17, 22, 19)
    assert 0.28 < large.mean() < 0.34
    for shown in (np.where(BRAIN, SHADES, noise), np.where(large, SHADES, 0), np.where(large, SHADES, noise)):
        assert [f.code for f in found(shown).findings] == ["NO_SKULL"]


def test_a_whole_head_is_taken_with_a_warning():
    examination = found(np.where(HEAD, SHADES, 0))
    assert examination.condition is not None
    assert [(f.level, f.code) for f in examination.findings] == [(Level.WARNING, "BRAIN_NOT_REMOVED")]


@pytest.mark.parametrize("name", ["flair", "t1w"])
def test_other_images_may_show_a_brain_alone(name):
    assert found(np.where(BRAIN, SHADES, 0), ConditionSpec(name, Kind.IMAGE)).condition is not None


def test_the_volume_as_drawn_goes_with_a_mask_that_is_resampled():
    fine = Grid((80, 104, 88), [[-2, 0, 0, 81], [0, 2, 0, -111], [0, 0, 2, -71], [0, 0, 0, 1]])
    mask = np.zeros(fine.shape, np.uint8)
    mask[31:46, 50:61, 40:47] = 1  # odd sizes: its border runs through the model's voxels
    condition = examine(
        ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"}), Volume(mask, fine), GRID
    ).condition
    assert condition.drawn_ml == {"ventricles": pytest.approx(15 * 11 * 7 * 8 / 1000)}
    assert condition.structure("ventricles").sum() * GRID.voxel_ml != pytest.approx(15 * 11 * 7 * 8 / 1000)
