"""The example of docs/slicer.md, run as it stands there."""

import re
import sys

import pytest
from opened import MODULE, TESTING, home, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import waitUntil

EXAMPLES = re.findall(r"```python\n(.*?)```", (TESTING.parent / "docs" / "slicer.md").read_text("utf-8"), re.DOTALL)


@pytest.fixture
def tinyIsDefault(home, tinyPacks, monkeypatch, scene, loadModule):  # noqa: F811
    monkeypatch.setenv("VCM_PACKS", str(tinyPacks))
    loadModule(MODULE)
    monkeypatch.setattr("VCMSlicerLib.conditions.givenInputs.DEFAULT_PACK", "tiny")
    from VCMSlicerLib.install.environment import Environment

    monkeypatch.setattr(Environment, "interpreter", sys.executable)


def test_the_documented_examples_run_one_after_the_other(tinyIsDefault, capsys):
    assert len(EXAMPLES) == 2
    names = {}
    try:
        exec(EXAMPLES[0], names)
        volume = names["volume"]
        assert volume.GetAttribute("VCMSlicer.Synthetic") == "true"
        assert "Synthetic image, seed 1" in capsys.readouterr().out
        exec(EXAMPLES[1], names)
        waitUntil(lambda: names["job"].finished, 90)
        assert names["job"].failure is None
        assert len(names["job"].nodes) == 1
        assert "sampling" in capsys.readouterr().out
    finally:
        names["logic"].shutdown()
