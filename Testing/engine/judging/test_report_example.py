"""The example in docs/report.md has the keys of a real report, no more and no fewer."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from command_line import vcm
from vcm.core.volume import Volume
from vcm.volumes.volume_files import write_volume

PAGE = Path(__file__).resolve().parents[3] / "docs" / "report.md"
BY_ROLE = ("files", "trained")
"""Their keys are the roles of a pack's files, which differ from pack to pack."""


def example():
    return json.loads(re.search(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[1])


def keys(content, path=""):
    """Every place of a JSON document that has a name; lists by what their elements have together."""
    if isinstance(content, dict):
        found = {f"{path}.{name}" for name in content if not path.endswith(BY_ROLE)}
        return found.union(*(keys(value, f"{path}.{name}") for name, value in content.items()))
    if isinstance(content, list):
        return set().union(*(keys(value, f"{path}[]") for value in content))
    return set()


@pytest.fixture
def report(with_tiny_packs, tmp_path):
    mask, far = tmp_path / "mask.nii.gz", np.zeros(tiny.GRID.shape, np.uint8)
    far[4:10, 6:14, 8:20] = 1
    write_volume(mask, Volume(far, tiny.GRID))
    write_volume(tmp_path / "skull.nii.gz", Volume(np.where(far, 0, 90).astype(np.int16), tiny.GRID))
    given = "--condition", f"ventricles={mask}", "--condition", f"skull={tmp_path}/skull.nii.gz"
    ended = vcm("generate", "--pack", "tiny", *given, "--uncontrolled", "--steps", 2, "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    return json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))


def test_the_example_of_the_page_has_the_keys_of_a_report(report):
    shown, real = keys(example()), keys(report)
    # The tiny pack has no segmenter, and the example's twin was not measured: these lists are empty there.
    empty = (".samples[].uncontrolled.alignment.", ".segmenter_labels[]", ".conditions[].findings[]", ".findings[]")
    assert {key for key in shown ^ real if not key.startswith(empty)} == set()


def test_a_key_that_is_wrong_or_missing_is_found():
    shown = example()
    shown["sampling"]["sampler_name"] = shown["sampling"].pop("sampler")
    assert keys(shown) ^ keys(example()) == {".sampling.sampler", ".sampling.sampler_name"}
