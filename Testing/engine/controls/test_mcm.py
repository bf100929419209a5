"""MCM modulates what the backbone itself predicts: v where it predicts v."""

from __future__ import annotations

import pytest
import tiny
import torch
from tiny_controls import condition, fresh
from vcm.sampling.guidance import GuidedDenoiser

pytestmark = pytest.mark.usefixtures("with_tiny_packs")
INPUTS = torch.tensor([[1.0, 0.3, 0.6, 0.2]])


@pytest.mark.parametrize("packing", [1, 2])
@pytest.mark.parametrize("t", [950.0, 120.0])
def test_gamma_and_beta_act_on_the_backbones_own_prediction(packing, t):
    control = fresh("mcm", packing).eval()
    control.network.heads.gamma.conv.bias.data.fill_(0.5)
    control.network.heads.beta.conv.bias.data.fill_(-0.25)
    model = tiny.backbone(packing, prediction="v" if packing > 1 else "epsilon")
    latent = torch.randn(1, *tiny.LATENT, generator=torch.Generator().manual_seed(3))
    times = torch.tensor([t])
    with torch.no_grad():
        own = model.predict(latent, times, INPUTS)
        epsilon = GuidedDenoiser(model, INPUTS, control, [condition(0)])(latent, t).value
    expected = 1.5 * own - 0.25
    alpha, sigma = (float(level) for level in model.process.level(t))
    if packing > 1:  # ε = σ·z + α·v
        expected = sigma * latent + alpha * expected
    assert torch.allclose(epsilon, expected, atol=2e-5)
