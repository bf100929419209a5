"""What a control for a small backbone needs of its network so that it can learn within an hour."""

import pytest
import torch
from small_cohort import NETWORK
from vcm.controls.folding import fold_typical
from vcm.loading import build_control

LATENT, MASK = (2, 3, 4, 6, 8), (2, 1, 16, 24, 32)


# Masks of 16×24×32 averaged over 2×2×2 voxels, patches of 2×2×2 of these, on the latent's grid of 4×6×8.
PATCHES = {
    "encoder": {"channels": 8, "places": [4, 6, 8], "num_res_blocks": 1, "norm_num_groups": 4},
    "condition_packing": 2,
    "condition_pooling": 2,
}


def network(**options):
    torch.manual_seed(4)
    return build_control({**NETWORK, **options}, {"ventricles": 1})


def inputs():
    generator = torch.Generator().manual_seed(2)
    latent, eps = (torch.randn(LATENT, generator=generator) for _ in range(2))
    mask = torch.zeros(MASK)
    mask[0, :, 3:9, 5:11, 17:29] = 1
    mask[1, :, 10:13, 2:20, 4:9] = 1
    return latent, eps, torch.tensor([900.0, 130.5]), mask


def correction(net):
    latent, eps, t, mask = inputs()
    gamma, beta = net.modulation(latent, eps, t, net.encode({"ventricles": mask}))
    return eps * gamma + beta


@pytest.mark.parametrize("options", [{"direct": False}, {"direct": True}, {"direct": True, **PATCHES}])
def test_a_new_control_changes_nothing(options):
    assert not correction(network(**options)).any()


@pytest.mark.parametrize("options", [{"direct": False}, {"direct": True}, {"direct": True, **PATCHES}])
def test_every_part_of_a_new_control_learns_within_a_few_steps(options):
    net = network(**options)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    target = torch.randn(LATENT, generator=torch.Generator().manual_seed(8))
    for _ in range(15):
        optimiser.zero_grad()
        (correction(net) - target).square().mean().backward()
        optimiser.step()
    asleep = [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in asleep if name.startswith(("encoders", "heads", "unet.out", "unet.conv_in"))]


def test_with_a_schedule_the_correction_of_v_is_of_the_same_size_at_every_noise_level():
    net = network(direct=False)
    with torch.no_grad():
        net.heads.beta.conv.bias.fill_(0.5)
    change = correction(net)
    alpha_bar = net.noise_levels(inputs()[2])
    assert torch.allclose(change / alpha_bar.sqrt(), torch.full(LATENT, 0.5), atol=1e-5)


def test_the_typical_condition_is_what_encoders_do_not_see():
    net = network(typical_shape=[8, 12, 16])
    typical = torch.rand(1, 8, 12, 16)
    net.typical_ventricles.copy_(typical)
    like_it = typical.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)[None]
    nothing = network().encode({"ventricles": torch.zeros_like(like_it)})
    assert torch.allclose(net.encode({"ventricles": like_it})["ventricles"], nothing["ventricles"])


def test_the_typical_condition_is_kept_with_the_weights():
    net = network(typical_shape=[8, 12, 16])
    net.typical_ventricles.fill_(0.25)
    again = network(typical_shape=[8, 12, 16])
    again.load_state_dict(net.state_dict())
    assert (again.typical_ventricles == 0.25).all()


def test_a_gain_makes_a_mask_louder():
    _, _, _, mask = inputs()
    quiet, loud = network(), network(condition_gain=3.0)
    silence = quiet.encode({"ventricles": torch.zeros_like(mask)})["ventricles"]
    heard = quiet.encode({"ventricles": mask})["ventricles"] - silence
    louder = loud.encode({"ventricles": mask})["ventricles"] - silence
    assert torch.allclose(louder, 3 * heard, atol=1e-5)


def test_the_direct_path_fades_as_the_latent_shows_itself():
    net = network(direct=True)
    with torch.no_grad():
        net.heads.beta.conv.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
        latent, eps, _, mask = inputs()
        one = {"ventricles": mask[:1]}
        effects = []
        for t in (990.0, 5.0):
            at = torch.tensor([t])
            with_mask = net.modulation(latent[:1], eps[:1], at, net.encode(one))[1]
            without = net.modulation(latent[:1], eps[:1], at, net.encode({"ventricles": mask[:1] * 0}))[1]
            effects.append(((with_mask - without) / net.noise_levels(at).sqrt()).abs().mean().item())
    assert effects[1] < 0.2 * effects[0]


def test_a_patch_is_seen_by_the_share_of_each_of_its_blocks_that_the_mask_fills():
    net = network(direct=True, condition_gain=1.0, **PATCHES)
    net.encoders["ventricles"].blocks = torch.nn.ModuleList()
    patch = torch.zeros(1, 1, 16, 24, 32)
    patch[0, 0, 8:12, 16:20, 4:8] = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(3)).round()
    shares = patch[0, 0, 8:12, 16:20, 4:8].reshape(2, 2, 2, 2, 2, 2).mean(dim=(1, 3, 5)).flatten()
    silence = net.encode({"ventricles": patch * 0})["ventricles"]
    heard = net.encode({"ventricles": patch})["ventricles"] - silence
    weight = net.encoders["ventricles"].embed.conv.weight[:, :, 0, 0, 0]
    assert torch.allclose(heard[0, :, 2, 4, 1], weight @ shares, atol=1e-5)
    heard[0, :, 2, 4, 1] = 0
    assert not heard.any()


def test_the_same_patch_means_different_things_in_different_places():
    net = network(direct=True, **PATCHES)
    here, there = torch.zeros(2, 1, 1, 16, 24, 32)
    here[0, 0, 0:4, 0:4, 0:4] = 1
    there[0, 0, 8:12, 8:12, 16:20] = 1
    encoded = [net.encode({"ventricles": mask})["ventricles"] for mask in (here, there)]
    assert not torch.allclose(encoded[0][0, :, 0, 0, 0], encoded[1][0, :, 2, 2, 4], atol=1e-3)


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_folding_the_typical_condition_into_the_places_changes_no_output(gain):
    options = {**NETWORK, "direct": True, **PATCHES, "condition_gain": gain, "typical_shape": [4, 6, 8]}
    net = build_control(options, {"ventricles": 1, "semantics": 3})
    generator = torch.Generator().manual_seed(5)
    for name in ("ventricles", "semantics"):
        buffer = net.get_buffer(f"typical_{name}")
        buffer.copy_(torch.rand(buffer.shape, generator=generator))
    networks, weights = fold_typical(options, net.state_dict())
    assert "typical_shape" not in networks and not [name for name in weights if name.startswith("typical")]
    folded = build_control(networks, {"ventricles": 1, "semantics": 3})
    folded.load_state_dict(weights)
    conditions = {"ventricles": inputs()[3], "semantics": torch.rand(2, 3, 16, 24, 32, generator=generator)}
    with torch.no_grad():
        before, after = net.encode(conditions), folded.encode(conditions)
    assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in before)
    assert before["semantics"].std() > 0.01


def test_an_encoder_on_the_voxels_grid_keeps_its_typical_condition():
    options = {**NETWORK, "typical_shape": [8, 12, 16]}
    net = build_control(options, {"ventricles": 1})
    networks, weights = fold_typical(options, net.state_dict())
    assert networks == options and "typical_ventricles" in weights
