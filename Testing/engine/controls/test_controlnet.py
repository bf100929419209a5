"""ControlNet against MONAI's own class, and what it takes from the backbone."""

from __future__ import annotations

import pytest
import tiny
import torch
from monai.networks.nets.controlnet import ControlNet as Monai
from tiny_controls import fresh, trained
from torch.nn import functional
from vcm.models.backbones.backbone import Shown

pytestmark = pytest.mark.usefixtures("with_tiny_packs")


@pytest.mark.parametrize("variant", ["small", "paper"])
def test_its_residuals_are_those_of_monais_controlnet_with_the_same_weights(variant):
    network = trained("controlnet", variant=variant).network
    attends = variant == "small"
    options = {name: value for name, value in tiny.DENOISER.items() if name != "out_channels"}
    if not attends:
        options = {n: v for n, v in options.items() if n not in ("with_conditioning", "cross_attention_dim")}
    channels = [layer.conv.in_channels for layer in network.hint.layers.blocks[::2]] + [
        network.hint.layers.conv_out.in_channels
    ]
    monai = Monai(**options, conditioning_embedding_in_channels=2, conditioning_embedding_num_channels=channels)
    names = {"hint.layers.": "controlnet_cond_embedding.", "encoder.": "", "down.": "controlnet_down_blocks.",
             "middle.": "controlnet_mid_block."}  # fmt: skip
    moved = {}
    for name, tensor in network.state_dict().items():
        head = next(old for old in names if name.startswith(old))
        place = names[head] + name.removeprefix(head)
        if place not in monai.state_dict():
            place = place.rpartition(".")[0] + ".conv." + place.rpartition(".")[2]
        moved[place] = tensor
    monai.load_state_dict(moved)
    x, t = torch.randn(2, 7, *tiny.LATENT[1:]), torch.tensor([700.0, 20.0])
    context = torch.rand(2, 1, 4)
    mask, image = torch.rand(1, 1, *tiny.GRID.shape), torch.rand(1, 1, *tiny.GRID.shape)
    # MONAI's brings conditions of four times the latent's resolution there, or of twice it where it has one step less.
    seen = functional.avg_pool3d(torch.cat([mask, image], dim=1), 2 if attends else 1).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        expected, middle = monai.eval()(x, t, seen, context=context if attends else None)
        hint = network.hint({"skull": image, "ventricles": mask}, frozenset(["skull", "ventricles"]))
        made = network(Shown(x, context), t, hint)
    assert len(made.down) == len(expected)
    for one, other in zip((*made.down, made.middle), (*expected, middle), strict=True):
        largest = float(other.abs().max())
        assert largest > 1e-4 and torch.allclose(one, other, atol=1e-5 * largest)


def test_it_begins_as_a_copy_of_the_backbones_encoder():
    model, control = tiny.backbone(), fresh("controlnet")
    control.begin(model)
    theirs = model.denoiser.state_dict()
    own = control.network.encoder.state_dict()
    assert own and all(torch.equal(tensor, theirs[name]) for name, tensor in own.items())
    own["conv_in.conv.weight"].zero_()
    assert model.denoiser.state_dict()["conv_in.conv.weight"].any()
