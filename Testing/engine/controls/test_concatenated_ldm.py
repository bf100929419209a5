"""The denoisers that take the conditions as channels: one begins as the backbone, the other with nothing of it."""

from __future__ import annotations

import pytest
import tiny
import torch
from tiny_controls import condition, fresh
from vcm.sampling.guidance import GuidedDenoiser

pytestmark = pytest.mark.usefixtures("with_tiny_packs")
INPUTS = torch.tensor([[1.0, 0.3, 0.6, 0.2]])


def begun(kind, model, packing):
    control = fresh(kind, packing).eval()
    control.begin(model)
    return control


@pytest.mark.parametrize("packing", [1, 2])
def test_a_fine_tuned_one_begins_with_the_backbones_prediction_and_takes_nothing_from_it_later(packing):
    model = tiny.backbone(packing, prediction="v" if packing > 1 else "epsilon")
    control = begun("ldm-fine-tuned", model, packing)
    latent = torch.randn(2, *tiny.LATENT, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        alone = GuidedDenoiser(model, INPUTS)(latent, 700.0).value
        made = GuidedDenoiser(model, INPUTS, control, [condition(0)])(latent, 700.0).value
        assert torch.allclose(made, alone, atol=1e-5)
        for parameter in model.denoiser.parameters():
            parameter.zero_()
        again = GuidedDenoiser(model, INPUTS, control, [condition(0)])(latent, 700.0).value
    assert torch.equal(again, made)


def test_one_from_scratch_begins_with_random_weights_and_without_a_context():
    model = tiny.backbone()
    control = begun("ldm-scratch", model, 1)
    own, former = control.network.denoiser.state_dict(), model.denoiser.state_dict()
    assert not torch.equal(own["conv_in.conv.weight"][:, :7], former["conv_in.conv.weight"])
    assert control.network.denoiser.with_conditioning is False and model.denoiser.with_conditioning is True
