"""A cohort's case as it is evaluated."""

from dataclasses import replace

import evaluation_packs as packs
import numpy as np
import pytest
import small_cohort
import tiny
from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.evaluation.evaluated_case import fingerprint, read_case, require_known


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


def test_an_image_condition_is_a_part_of_the_cohort_and_measured_again_when_that_changes(tmp_path):
    entry, other, *_ = small_cohort.write_cohort(tmp_path)
    specs = [ConditionSpec.from_dict({"name": "flair", "kind": "image"})]
    with pytest.raises(VcmError, match="takes flair, which the cases of a cohort do not hold; they hold ventricles"):
        require_known(specs, "a control", [entry, other])
    entry = replace(entry, parts=(*entry.parts, "flair"))
    require_known(specs, "a control", [entry, other])
    before, without = fingerprint(entry, specs), fingerprint(entry, [])
    entry.path("flair").write_bytes(other.path("image").read_bytes())
    assert fingerprint(entry, specs) != before and fingerprint(entry, []) == without
    (condition,) = read_case(entry, specs, tiny.GRID).conditions
    assert np.allclose(condition.volume.array, other.read("image").array.clip(0, 1))
