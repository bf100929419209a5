"""The compiled step: only where it is asked for, kept in the user's folder, with the plain step's numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import tiny
import torch
import torch._dynamo
from vcm.machine.runtime import choose_runtime
from vcm.sampling import generator
from vcm.sampling.compiled_step import ASKED, KEPT_IN, compile_step, wants_compiling
from vcm.sampling.generator import Generator


@pytest.mark.parametrize(("value", "wanted"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_it_is_asked_for_and_only_on_a_gpu(value, wanted, monkeypatch):
    monkeypatch.delenv(ASKED, raising=False)
    if value is not None:
        monkeypatch.setenv(ASKED, value)
    assert wants_compiling(torch.device("cuda")) == wanted
    assert not wants_compiling(torch.device("cpu")) and not wants_compiling(torch.device("mps"))


def test_a_generator_compiles_the_networks_that_predict_once(monkeypatch):
    compiled = []
    monkeypatch.setattr(generator, "wants_compiling", lambda device: True)
    monkeypatch.setattr(generator, "compile_step", compiled.extend)
    backbone = tiny.backbone()
    made = Generator(backbone, None, choose_runtime("cpu"))
    made._place()
    assert compiled == [backbone.denoiser]


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(KEPT_IN, "")
    monkeypatch.delenv(KEPT_IN)
    suppressing = torch._dynamo.config.suppress_errors
    yield tmp_path
    torch._dynamo.config.suppress_errors = suppressing
    torch._dynamo.reset()


@torch.no_grad()
def test_the_compiled_step_has_the_plain_steps_numbers_and_names_the_users_folder(home):
    backbone, plain = tiny.backbone(), tiny.backbone()
    compile_step(backbone.sampling_networks, backend="aot_eager")
    for latent in (torch.randn(1, *tiny.LATENT), torch.randn(2, *tiny.LATENT)):
        t, inputs = torch.full((len(latent),), 400.0), torch.rand(1, 4).expand(len(latent), -1)
        found, expected = (model.predict(latent, t, inputs) for model in (backbone, plain))
        assert float((found - expected).abs().max()) < 1e-5
    assert Path(os.environ[KEPT_IN]) == home / "vcm-slicer" / "compiled"
    assert set(backbone.state_dict()) == set(plain.state_dict())


@torch.no_grad()
def test_what_cannot_be_compiled_runs_as_it_is_and_a_users_own_folder_stays(home, monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    monkeypatch.setenv(KEPT_IN, "/elsewhere")
    network = torch.nn.Sequential(torch.nn.Conv3d(2, 2, 3, padding=1), torch.nn.SiLU())
    x = torch.randn(1, 2, 4, 5, 6)
    expected = network(x)
    compile_step([network], backend=broken)
    assert torch.allclose(network(x), expected, atol=1e-6) and os.environ[KEPT_IN] == "/elsewhere"
