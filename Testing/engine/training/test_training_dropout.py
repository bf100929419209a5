"""Modality latent dropout: which conditions a slot is taught with."""

from collections import Counter

import pytest
from vcm.training.data.condition_dropout import kept_conditions
from vcm.training.trainer.task import slots_of


def shares(dropout, names, count=4000):
    kept = kept_conditions(dropout, names, slots_of(1, 0, count, 10, range(count)))
    sets = Counter("+".join(name for name in names if kept[name][n]) for n in range(count))
    return {subset: number / count for subset, number in sets.items()}


def test_two_conditions_are_dropped_as_often_as_the_paper_does():
    assert shares("paper", ("a", "b")) == pytest.approx({"a": 0.3, "b": 0.3, "a+b": 0.4}, abs=0.03)


def test_of_three_each_alone_has_its_part_of_what_the_paper_gives_to_one_alone():
    assert shares("paper", ("a", "b", "c")) == pytest.approx({"a": 0.2, "b": 0.2, "c": 0.2, "a+b+c": 0.4}, abs=0.03)


def test_uniform_is_every_subset_but_the_empty_one():
    found = shares("uniform", ("a", "b", "c"))
    assert len(found) == 7 and "" not in found
    assert all(share == pytest.approx(1 / 7, abs=0.03) for share in found.values())


def test_a_table_drops_each_by_itself():
    found = shares({"a": 0.3, "b": 0.4}, ("a", "b", "c"))
    assert found["c"] == pytest.approx(0.12, abs=0.03)
    assert found["a+b+c"] == pytest.approx(0.42, abs=0.03)


def test_without_dropout_nothing_is_drawn():
    assert kept_conditions("none", ("a", "b"), slots_of(1, 0, 2, 10, range(2))) is None
