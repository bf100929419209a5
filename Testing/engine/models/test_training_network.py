"""The full-size VCM begins where its backbone stands, and every part of it can learn from there."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from vcm.conditions.condition import ConditionSpec
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.models.controls.vcm_config import network_config
from vcm.models.process import VariancePreserving
from vcm.packs.manifest import LatentSpec

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
    return tiny.build_control({**tiny.CONTROL, "encoder": encoder}, {"ventricles": 1, "skull": 1})


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


SPECS = (ConditionSpec.from_dict({"name": "ventricles", "kind": "mask"}),)


def a_manifest(shape, latent, packing=2):
    schedule = VariancePreserving()
    grid, spec = Grid(shape, tiny.GRID.affine), LatentSpec((3, *latent), 1.0, packing)
    family = "latent-diffusion"
    return SimpleNamespace(name="flat", grid=grid, latent=spec, process=schedule, family=family, attributes=())


def test_a_small_network_is_made_for_three_different_sizes():
    config = network_config(a_manifest((32, 48, 64), (8, 12, 16)), SPECS, "small", {})
    assert config["places"] == [4, 6, 8]
    assert config["condition_packing"] * config["condition_pooling"] == 8


@pytest.mark.parametrize(
    ("latent", "said"), [((8, 12, 8), "8 × 8 × 16 voxels"), ((8, 24, 16), "8 × 4 × 8"), ((4, 12, 16), "16 × 8 × 8")]
)
def test_a_small_network_refuses_patches_of_several_sizes_on_any_axis(latent, said):
    with pytest.raises(VcmError, match=said):
        network_config(a_manifest((32, 48, 64), latent), SPECS, "small", {})


@pytest.mark.parametrize(("latent", "said"), [((4, 6, 4), "8 × 8 × 16 times"), ((4, 12, 8), "8 × 4 × 8 times")])
def test_a_full_network_refuses_a_latent_that_is_not_equally_smaller_on_every_axis(latent, said):
    network_config(a_manifest((32, 48, 64), (4, 6, 8), 1), SPECS, "paper", {})
    with pytest.raises(VcmError, match=said):
        network_config(a_manifest((32, 48, 64), latent, 1), SPECS, "paper", {})
