"""The VCM of small backbones: what the conditions let expect, and how a step is pulled towards it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch
from vcm.conditions.attributes import AttributeSpec
from vcm.core.errors import VcmError
from vcm.models.controls.folding import fold_typical, unfold_typical
from vcm.models.controls.vcm_config import _kinds

LATENT, GRID = (2, 4, 6, 8, 4), (16, 24, 32)
"""Two latents of 4 channels; packed by 2 they lie on 3×4×2 places."""

NETWORKS = {
    "variant": "patches",
    "places": [3, 4, 2],
    "width": 16,
    "features": 8,
    "hidden": 8,
    "unet": {
        "spatial_dims": 3, "out_channels": 8, "channels": [8], "num_res_blocks": 1, "attention_levels": [False],
        "norm_num_groups": 4, "num_head_channels": 4,
    },
    "schedule": {},
    "latent_channels": 4,
    "latent_packing": 2,
    "condition_packing": 2,
    "condition_pooling": 2,
}  # fmt: skip


def network(channels=("ventricles",), **options):
    torch.manual_seed(4)
    return tiny.build_control({**NETWORKS, **options}, dict.fromkeys(channels, 1)).eval()


def masks(number=2):
    mask = torch.zeros(number, 1, 12, 16, 8)
    mask[0, :, 1:7, 5:11, 3:8] = 1
    mask[-1, :, 8:12, 2:13, 0:3] = 1
    return mask


def noisy(seed=2):
    generator = torch.Generator().manual_seed(seed)
    latent, eps = (torch.randn(LATENT, generator=generator) for _ in range(2))
    return latent, eps, torch.tensor([900.0, 130.5])


def foreseen(net, latent, eps, t):
    """ẑ = (z − √(1−ᾱ)·ε)/√ᾱ."""
    alpha, sigma = net.process.levels(t)
    return (latent - sigma * eps) / alpha


def guided(net, latent, eps, t, encoded):
    gamma, beta = net.modulation(latent, eps, t, encoded)
    return eps * (1 + gamma) + beta


def test_a_new_control_changes_nothing():
    net = network()
    latent, eps, t = noisy()
    assert torch.equal(guided(net, latent, eps, t, net.encode({"ventricles": masks()})), eps)


def test_every_part_of_a_new_control_learns_within_a_few_steps():
    net = network(("ventricles", "skull"), as_latents=["skull"])
    conditions = {"ventricles": masks(), "skull": torch.randn(LATENT, generator=torch.Generator().manual_seed(3))}
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    target = torch.randn(LATENT, generator=torch.Generator().manual_seed(8))
    latent, eps, t = noisy()
    for _ in range(8):
        optimiser.zero_grad()
        (guided(net, latent, eps, t, net.encode(conditions)) - target).square().mean().backward()
        optimiser.step()
    asleep = [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in asleep if name.startswith(("encoders", "expectation", "heads", "unet.out"))]


@torch.no_grad()
@pytest.mark.parametrize("trust", [0.25, 1.0])
def test_a_step_is_pulled_to_the_expected_latent_as_far_as_noise_hides_the_latent(trust):
    net = network(("skull",), as_latents=["skull"])
    net.expectation.share.conv.bias.fill_(1)  # the skull's latent is what is expected
    net.heads.pull.conv.bias.fill_(trust)
    latent, eps, t = noisy()
    skull = torch.arange(latent.numel()).reshape(LATENT) / 300  # no two of its numbers are equal
    before = foreseen(net, latent, eps, t)
    after = foreseen(net, latent, guided(net, latent, eps, t, net.encode({"skull": skull})), t)
    hidden = net.process.levels(t)[1].square()
    assert hidden[0] > 0.95 and hidden[1] < 0.3
    assert torch.allclose(after, before + trust * hidden * (skull - before), atol=2e-4)


@torch.no_grad()
def test_the_latent_of_an_image_is_taken_over_where_the_features_say_so_and_nowhere_else():
    net = network(("skull",), as_latents=["skull"])
    encoded = net.encode({"skull": torch.rand(LATENT, generator=torch.Generator().manual_seed(5))})
    assert not net.expect(encoded)[1].any()
    net.expectation.share.conv.bias[3] = 1  # one channel of the packed latent: one corner of each block of 2×2×2
    expected = net.expect(encoded)[1]
    assert torch.equal(expected[:, 3], encoded["skull"][:, net.width + 3])
    assert not expected[:, torch.arange(32) != 3].any()


@torch.no_grad()
def test_in_units_of_v_the_heads_count_the_same_at_every_noise_level():
    net = network()
    net.heads.beta.conv.bias.fill_(0.5)
    latent, eps, t = noisy()
    change = guided(net, latent, eps, t, net.encode({"ventricles": masks()})) - eps
    assert torch.allclose(change / net.process.levels(t)[0], torch.full(LATENT, 0.5), atol=1e-5)


@torch.no_grad()
def test_a_condition_that_is_not_given_is_one_that_is_encoded_as_zeros():
    net = network(("ventricles", "skull"), as_latents=["skull"])
    for parameter in net.parameters():
        parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(parameter.numel()))
    given = net.encode({"ventricles": masks(), "skull": torch.randn(LATENT)})
    alone = net.encode({"ventricles": masks(), "skull": torch.randn(LATENT)}, frozenset({"ventricles"}))
    assert list(alone) == ["ventricles"]
    silent = {**given, "skull": torch.zeros_like(given["skull"])}
    for one, other in zip(net.modulation(*noisy(), alone), net.modulation(*noisy(), silent), strict=True):
        assert torch.equal(one, other)
    assert not torch.allclose(net.modulation(*noisy(), given)[1], net.modulation(*noisy(), alone)[1], atol=1e-3)


@torch.no_grad()
def test_one_encoding_serves_a_whole_batch():
    net = network()
    for parameter in net.parameters():
        parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(parameter.numel()))
    latent, eps, t = noisy()
    one = net.encode({"ventricles": masks(1)})
    twice = net.encode({"ventricles": masks(1).expand(2, -1, -1, -1, -1)})
    for shared, each in zip(net.modulation(latent, eps, t, one), net.modulation(latent, eps, t, twice), strict=True):
        assert torch.allclose(shared, each, atol=1e-5)


@torch.no_grad()
def test_a_patch_is_seen_by_the_share_of_each_of_its_blocks_that_the_mask_fills():
    net = network()
    net.encoders["ventricles"].blocks = torch.nn.ModuleList()
    mask = torch.zeros(1, 1, 12, 16, 8)
    mask[0, 0, 8:12, 4:8, 4:8] = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(3)).round()
    shares = mask[0, 0, 8:12, 4:8, 4:8].reshape(2, 2, 2, 2, 2, 2).mean(dim=(1, 3, 5)).flatten()
    heard = net.encode({"ventricles": mask})["ventricles"] - net.encode({"ventricles": mask * 0})["ventricles"]
    weight = net.encoders["ventricles"].embed.conv.weight[:, :, 0, 0, 0]
    assert torch.allclose(heard[0, :, 2, 1, 1], weight @ shares, atol=1e-5)
    heard[0, :, 2, 1, 1] = 0
    assert not heard.any()


@torch.no_grad()
def test_the_typical_condition_is_what_encoders_do_not_see_and_a_gain_makes_the_rest_louder():
    typical = torch.rand(1, 6, 8, 4, generator=torch.Generator().manual_seed(6))
    net, plain = network(typical_shape=[6, 8, 4]), network()
    net.typical_ventricles.copy_(typical)
    like_it = typical.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)[None]
    nothing = plain.encode({"ventricles": masks() * 0})["ventricles"][:1]
    assert torch.allclose(net.encode({"ventricles": like_it})["ventricles"], nothing, atol=1e-6)
    loud = network(condition_gain=3.0)
    for one in (plain, loud):
        one.encoders["ventricles"].blocks = torch.nn.ModuleList()
    heard = [
        one.encode({"ventricles": masks()})["ventricles"] - one.encode({"ventricles": masks() * 0})["ventricles"]
        for one in (plain, loud)
    ]
    assert torch.allclose(heard[1], 3 * heard[0], atol=1e-5) and heard[0].any()


@torch.no_grad()
@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_folding_the_typical_condition_into_the_places_changes_no_output(gain):
    options = {"condition_gain": gain, "typical_shape": [6, 8, 4], "as_latents": ["skull"]}
    net = network(("ventricles", "skull"), **options)
    net.typical_ventricles.copy_(torch.rand(1, 6, 8, 4, generator=torch.Generator().manual_seed(5)))
    assert "typical_skull" not in net.state_dict()
    networks, weights = fold_typical({**NETWORKS, **options}, net.state_dict())
    assert "typical_shape" not in networks and not [name for name in weights if name.startswith("typical")]
    folded = tiny.build_control(networks, {"ventricles": 1, "skull": 1})
    folded.load_state_dict(weights)
    before, after = (one.encode({"ventricles": masks()})["ventricles"] for one in (net, folded))
    assert torch.allclose(before, after, atol=1e-4) and before.std() > 0.01
    again = network(("ventricles", "skull"), **options)
    again.typical_ventricles.copy_(torch.rand(1, 6, 8, 4, generator=torch.Generator().manual_seed(6)))
    again.load_state_dict(unfold_typical(again, weights))
    assert not torch.equal(again.encoders["ventricles"].place, net.encoders["ventricles"].place)
    assert torch.allclose(before, again.encode({"ventricles": masks()})["ventricles"], atol=1e-4)


@torch.no_grad()
def test_each_kind_of_image_has_an_expected_latent_of_its_own():
    net = network(kinds=3, kind_input=1)
    bias = net.expectation.clean.conv.bias
    bias.copy_(torch.arange(3.0).repeat_interleave(32) + 1)  # 1 for the first kind, 2 and 3 for the others
    encoded = net.encode({"ventricles": masks(1)})
    inputs = torch.tensor([[9.0, 2.0], [9.0, 0.0]])
    expected = net.expect(encoded, inputs)[1]
    assert expected.shape == (2, 32, 3, 4, 2)
    assert expected[0].unique().tolist() == [3.0] and expected[1].unique().tolist() == [1.0]
    net.heads.pull.conv.bias.fill_(1.0)
    latent, eps, t = noisy()
    both = net.modulation(latent, eps, t, encoded, inputs)[1]
    for item in (slice(0, 1), slice(1, 2)):
        one = net.modulation(latent[item], eps[item], t[item], encoded, inputs[item])[1]
        assert torch.allclose(both[item], one, atol=1e-5)
    turned = net.modulation(latent, eps, t, encoded, inputs.flip(0))[1]
    assert not torch.allclose(both, turned, atol=1e-3)
    for unknown in (3.0, -1.0):
        with pytest.raises(VcmError, match="has learned 3 kinds of image"):
            net.expect(encoded, torch.tensor([[9.0, unknown]]))


def test_a_backbone_of_several_contrasts_gets_a_control_that_knows_them():
    choices = {"T1w": 0, "T2w": 2, "X": 1}
    age, shown = AttributeSpec("age", "Age"), AttributeSpec("c", "C", choices=choices, role="contrast")
    assert _kinds(SimpleNamespace(attributes=(age, shown))) == {"kinds": 3, "kind_input": 1}
    assert _kinds(SimpleNamespace(attributes=(age, replace(shown, role="")))) == {}
    assert _kinds(SimpleNamespace(attributes=(age, replace(shown, choices={"T1w": 9, "T2w": 10})))) == {}
