"""The full-size VCM begins where its backbone stands, and every part of it can learn from there."""

import pytest
import tiny
import torch
from vcm.models.loading import build_control

LATENT = (2, *tiny.LATENT)


def correction(net):
    generator = torch.Generator().manual_seed(2)
    latent, eps = (torch.randn(LATENT, generator=generator) for _ in range(2))
    mask, skull = torch.zeros(2, 2, 1, *tiny.GRID.shape)
    mask[0, :, 3:9, 5:11, 17:29] = 1
    mask[1, :, 10:13, 2:20, 4:9] = 1
    skull[:, :, 2:] = 0.4
    t = torch.tensor([900.0, 130.5])
    gamma, beta = net.modulation(latent, eps, t, net.encode({"ventricles": mask, "skull": skull}, t=t))
    return eps * gamma + beta


def new(timed):
    # Two channels in each group: of a group of one, normalising takes out what a bias before it adds.
    encoder = {"channels": [8, 8], "num_res_blocks": 1, "norm_num_groups": 4, "time_embedding": timed}
    torch.manual_seed(4)
    return build_control({**tiny.CONTROL, "encoder": encoder}, {"ventricles": 1, "skull": 1})


@pytest.mark.parametrize("timed", [False, True])
def test_a_new_control_changes_nothing(timed):
    assert not correction(new(timed)).any()


@pytest.mark.parametrize("timed", [False, True])
def test_every_part_of_a_new_control_learns_within_a_few_steps(timed):
    net = new(timed)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    target = torch.randn(LATENT, generator=torch.Generator().manual_seed(8))
    for _ in range(15):
        optimiser.zero_grad()
        (correction(net) - target).square().mean().backward()
        optimiser.step()
    asleep = [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in asleep if name.startswith(("encoders", "heads", "unet.out", "unet.conv_in"))]
