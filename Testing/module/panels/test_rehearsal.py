"""The walk that is meant for a real Slicer, taken in the stand-in, so that it does not break on the way there."""

import json
import sys

import pytest
import rehearsal
from opened import MODULE, TESTING, home  # noqa: F401

PATIENCE = 120


@pytest.fixture
def walked(home, monkeypatch, mainWindow, loadModule, tmp_path):  # noqa: F811
    """The whole rehearsal with the micro model, whose images take seconds."""
    monkeypatch.setenv("VCM_PACKS", str(TESTING / "packs"))
    module = loadModule(MODULE)
    mainWindow.selectModule(module)
    walk = rehearsal.Rehearsal(tmp_path / "out", sys.executable, pack="micro", patience=PATIENCE)
    walk.run()
    yield walk
    walk.client.shutdown()
    mainWindow.selectModule(None)


def test_every_step_of_the_rehearsal_passes_and_is_reported_with_a_picture(walked):
    failed = {
        step.name: f"{step.failure}\n{step.notes.get('traceback', '')}" for step in walked.steps if not step.passed
    }
    assert failed == {}
    assert [step.name for step in walked.steps] == [name for name, _ in walked._plan()]
    report = json.loads((walked.out / "report.json").read_text("utf-8"))
    assert report["passed"] is True
    for step in report["steps"]:
        assert (walked.out / step["screenshot"]).read_bytes()[:4] == b"\x89PNG"
    written = (walked.out / "report.md").read_text("utf-8")
    assert written.count("☑") == len(walked.steps) and "☒" not in written


def test_a_step_that_fails_is_reported_and_makes_the_whole_fail(scene, tmp_path):
    walk = rehearsal.Rehearsal(tmp_path / "out")

    def fails():
        raise AssertionError("the brush | is\nlost")

    assert walk._take("Painting", fails) is False
    assert walk.passed is False
    written = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert "☒ | Painting" in written and "the brush / is lost" in written
