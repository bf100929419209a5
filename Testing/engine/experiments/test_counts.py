"""Parameters at the paper's sizes, against figures that were counted on the published networks."""

from __future__ import annotations

import pytest
import torch
from command_line import vcm
from tiny_controls import KINDS
from vcm.conditions.condition import ConditionSpec
from vcm.experiments.counts import THREE, brainldm
from vcm.models.controls.control import Step
from vcm.models.loading import BACKBONES, CONTROLS

EXACT = {
    ("BrainLDM", 1): 553_168_899,
    ("LDM (from scratch)", 1): 475_416_323,
    ("LDM (from scratch)", 2): 475_430_147,
    ("LDM (fine-tuning)", 1): 553_175_811,
    ("LDM (fine-tuning)", 2): 553_189_635,
    ("MCM", 1): 11_451_814,
    ("MCM-L", 1): 44_917_126,
    ("T2I-Adapter", 1): 223_410_688,
    ("T2I-Adapter", 2): 447_263_744,
    ("ControlNet", 1): 193_879_392,
    ("ControlNet", 2): 193_881_120,
    ("ControlNet-LITE", 1): 63_556_704,
    ("ControlNet-MLP", 1): 9_030_752,
    ("VCM as released", None): 45_220_134,
}
"""../shared/facts/vcm_and_brainldm.md, section 6."""

MILLIONS = {
    "BrainLDM": ("553.17", "553.17"),
    "LDM (from scratch)": ("475.42", "475.43"),
    "LDM (fine-tuning)": ("553.18", "553.19"),
    "MCM": ("11.45", "11.45"),
    "MCM-L": ("44.92", "44.92"),
    "T2I-Adapter": ("223.41", "447.26"),
    "ControlNet": ("193.88", "193.88"),
    "ControlNet-LITE": ("63.56", "63.56"),
    "ControlNet-MLP": ("9.03", "9.03"),
}
"""Tables 1 and 2 of the paper."""


@pytest.fixture(scope="module")
def rows():
    ended = vcm("experiment", "counts", "--json")
    assert ended.code == 0, ended.err
    return {(row["method"], row["table"]): row for row in ended.json}


def test_the_published_counts_are_reached_to_the_last_parameter(rows):
    assert {key: rows[key]["total"] for key in EXACT} == EXACT
    assert all(rows[key]["agrees"] for key in EXACT)


@pytest.mark.parametrize("method", MILLIONS)
def test_the_papers_figures_in_millions_are_reached(rows, method):
    found = tuple(f"{rows[method, table]['total'] / 1e6:.2f}" for table in (1, 2))
    assert found == MILLIONS[method] == tuple(rows[method, table]["paper"] for table in (1, 2))


def test_what_is_not_reached_is_said(rows):
    for table in (1, 2):
        assert not rows["VCM", table]["agrees"] and "not reached" in rows["VCM", table]["note"]
    ended = vcm("experiment", "counts")
    assert ended.code == 0 and ended.out.count("differs") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_counted_also_computes_at_the_papers_sizes(kind):
    manifest, specs = brainldm(), tuple(map(ConditionSpec.from_dict, THREE))
    with torch.device("meta"):
        backbone = BACKBONES[manifest.family].outline(manifest)
        control = CONTROLS[kind].create(CONTROLS[kind].configure(manifest, specs, "paper", {}), specs)
        latent, inputs = torch.empty(1, 3, 20, 28, 20), torch.empty(1, 4)
        given = {spec.name: torch.empty(1, 1, 160, 224, 160) for spec in specs}
        made, _ = control.learn(Step.on(backbone, inputs, latent, torch.empty(1)), given)
    assert made.shape == latent.shape
