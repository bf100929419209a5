"""A cohort's case as it is evaluated."""

import evaluation_packs as packs
import numpy as np
import small_cohort
import tiny
from vcm.conditions.condition import ConditionSpec
from vcm.core.grid import Grid
from vcm.evaluation.evaluated_case import read_case


def test_a_cohort_of_twice_the_resolution_is_measured_on_the_backbone_s_grid(tmp_path):
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    half[:3, 3] = -0.25
    fine = Grid(tuple(2 * n for n in tiny.GRID.shape), tiny.GRID.affine @ half)
    entry = small_cohort.write_cohort(tmp_path / "fine", 3, fine)[2]
    specs = [ConditionSpec.from_dict(one) for one in packs.CONDITIONS]
    case = read_case(entry, specs, tiny.GRID)
    blocks = entry.read("image").array.reshape(16, 2, 24, 2, 32, 2).mean((1, 3, 5))
    assert case.image.grid.same_as(tiny.GRID) and np.allclose(case.image.array, blocks, atol=1e-5)
    assert [c.volume.array.shape for c in case.conditions] == [tiny.GRID.shape] * 2
    assert case.conditions[0].volume.array.any()
