"""The short form of `interruptions.py`: a few points of each command; `make kill-points` kills at many."""

from __future__ import annotations

import pytest
from interruptions import SCENARIOS
from kill_campaign import Campaign


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCENARIOS))
def test_a_command_that_was_killed_and_run_again_ends_as_in_one_piece(tmp_path, monkeypatch, name):
    monkeypatch.setenv("VCM_PACKS", "")
    points = Campaign(SCENARIOS[name], tmp_path / "campaign").points(3, seed=7)
    assert len(points) == 3 and not [point for point in points if point.wrong]
