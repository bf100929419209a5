"""The engine's networks against monai-generative's, the published ones, over configurations no golden file has."""

from __future__ import annotations

import pytest
import torch

generative = pytest.importorskip("generative.networks.nets", reason="needs the extra `reference`")

from vcm.core.errors import Code, VcmError  # noqa: E402
from vcm.models.backbones.autoencoders import build_autoencoder  # noqa: E402
from vcm.models.backbones.latent_diffusion import build_denoiser  # noqa: E402
from vcm.models.backbones.published import translate_autoencoder, translate_denoiser  # noqa: E402
from vcm.models.controls.published import translate_control  # noqa: E402
from vcm.models.controls.vcm_networks import VcmNetwork  # noqa: E402

AUTOENCODERS = {
    "plain": {"num_channels": [8, 16], "num_res_blocks": [1, 2], "attention_levels": [False, False]},
    "attention everywhere": {
        "num_channels": [8, 16, 16],
        "num_res_blocks": 2,
        "attention_levels": [False, False, True],
        "with_encoder_nonlocal_attn": True,
        "with_decoder_nonlocal_attn": True,
    },
}
DENOISERS = {
    "context, resampling blocks": {
        "num_channels": [8, 16, 24], "num_res_blocks": 2, "attention_levels": [False, True, True],
        "num_head_channels": [0, 4, 24], "resblock_updown": True, "with_conditioning": True, "cross_attention_dim": 4,
        "transformer_num_layers": 2, "upcast_attention": True,
    },
    "no context, strided resampling, several heads": {
        "num_channels": [16, 16], "num_res_blocks": [1, 2], "attention_levels": [True, True],
        "num_head_channels": [8, 4], "resblock_updown": False, "with_conditioning": False,
    },
}  # fmt: skip


def published(network_class, config: dict, seed: int):
    torch.manual_seed(seed)
    network = network_class(**config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.15)
    return network


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.std())


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoders_agree(name):
    config = {
        "spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3, "norm_num_groups": 4,
        "norm_eps": 1e-6, "with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False,
        **AUTOENCODERS[name],
    }  # fmt: skip
    oracle = published(generative.AutoencoderKL, config, 1)
    kwargs, state = translate_autoencoder(config, oracle.state_dict())
    ours = build_autoencoder(kwargs).eval()
    ours.load_state_dict(state)
    image = torch.rand(2, 1, 8, 16, 24)
    with torch.no_grad():
        mean, sigma = oracle.encode(image)
        for found, expected in zip(ours.encode(image), (mean, sigma), strict=True):
            assert relative(found, expected) < 1e-4
        assert relative(ours.decode(mean), oracle.decode(mean)) < 1e-4


@pytest.mark.parametrize("t", [0, 17, 999])
@pytest.mark.parametrize("name", DENOISERS)
def test_denoisers_agree(name, t):
    config = {
        "spatial_dims": 3, "in_channels": 7, "out_channels": 3, "norm_num_groups": 4, "norm_eps": 1e-6,
        **DENOISERS[name],
    }  # fmt: skip
    oracle = published(generative.DiffusionModelUNet, config, 2)
    kwargs, state = translate_denoiser(config, oracle.state_dict())
    ours = build_denoiser(kwargs).eval()
    ours.load_state_dict(state)
    x, times = torch.randn(2, 7, 4, 8, 12), torch.tensor([t, t])
    context = torch.rand(2, 1, 4) if config["with_conditioning"] else None
    with torch.no_grad():
        assert relative(ours(x, times, context), oracle(x, times, context)) < 1e-4


def test_the_projection_that_the_published_forward_never_uses_is_left_behind():
    config = {
        "spatial_dims": 3,
        "in_channels": 7,
        "out_channels": 3,
        "norm_num_groups": 4,
        **DENOISERS[list(DENOISERS)[1]],
    }
    oracle = published(generative.DiffusionModelUNet, config, 3)
    state = oracle.state_dict()
    assert any(".proj_attn." in name for name in state)
    _, translated = translate_denoiser(config, state)
    assert not any("proj" in name and "attn" in name for name in translated)


def released_vcm(channels: int):
    """A VCM put together from published blocks, with random weights, and its two configurations."""
    shared = {"spatial_dims": 3, "norm_num_groups": 4, "norm_eps": 1e-6, "resblock_updown": True}
    encoder = {**shared, "in_channels": channels, "num_channels": [4, 8], "num_res_blocks": [1, 2],
               "attention_levels": [False, False], "num_head_channels": [0, 0]}  # fmt: skip
    unet = {**shared, "in_channels": 6 + 8, "out_channels": 12, "num_channels": [8, 16], "num_res_blocks": 1,
            "attention_levels": [False, True], "num_head_channels": [0, 8]}  # fmt: skip
    time_unet = published(generative.DiffusionModelUNet, unet, 5)
    network = VcmNetwork(
        {"conditions": channels},
        {"channels": [4, 8], "num_res_blocks": [1, 2], "norm_num_groups": 4},
        {**{k: v for k, v in unet.items() if k != "num_channels"}, "channels": unet["num_channels"]},
        {"hidden": 6, "norm": True},
        shared_encoder=True,
    )
    torch.manual_seed(6)
    state = {}
    for name, tensor in network.state_dict().items():
        if name.startswith("encoders.shared."):
            state[name.replace("encoders.shared.", "modality_encoder.")] = torch.randn_like(tensor) * 0.2
        elif name.startswith("heads."):
            state[name.replace("heads.", "mlp_")] = torch.randn_like(tensor) * 0.2
    state |= {f"time_unet.{name}": tensor for name, tensor in time_unet.state_dict().items()}
    return encoder, unet, state, time_unet


def test_the_control_agrees_with_the_published_unet_between_its_encoder_and_heads():
    encoder, unet, state, time_unet = released_vcm(channels=5)
    networks, translated = translate_control(encoder, unet, state)
    ours = VcmNetwork({"a": 2, "b": 3}, **networks).eval()
    ours.load_state_dict(translated)
    conditions = {"a": torch.rand(1, 2, 16, 24, 32), "b": torch.rand(1, 3, 16, 24, 32)}
    z, eps, t = torch.randn(1, 3, 4, 6, 8), torch.randn(1, 3, 4, 6, 8), torch.tensor([437])
    with torch.no_grad():
        encoded = ours.encode(conditions)
        features = time_unet(torch.cat([z, eps, encoded["shared"]], 1), t)
        hidden = torch.nn.functional.conv3d(
            features, state["mlp_shared.conv.weight"], state["mlp_shared.conv.bias"], padding=1
        )
        hidden = torch.nn.functional.leaky_relu(hidden, 0.01)
        for found, head in zip(ours.modulation(z, eps, t, encoded), ("mlp_gamma", "mlp_beta"), strict=True):
            raw = torch.nn.functional.conv3d(
                hidden, state[f"{head}.conv.weight"], state[f"{head}.conv.bias"], padding=1
            )
            expected = torch.nn.functional.instance_norm(raw)
            assert relative(found, expected) < 1e-4


def test_a_checkpoint_of_another_size_is_refused_with_the_tensor_that_does_not_fit():
    encoder, unet, state, _ = released_vcm(channels=5)
    with pytest.raises(VcmError) as caught:
        translate_control({**encoder, "in_channels": 6}, unet, state)
    assert caught.value.code is Code.PACK_INVALID
    assert "conv_in" in caught.value.sentence and "[4, 5, 3, 3, 3]" in caught.value.sentence


def test_a_configuration_that_describes_no_network_is_told_in_a_sentence():
    with pytest.raises(VcmError, match="does not describe a network that can be built"):
        translate_denoiser({"spatial_dims": 3, "in_channels": 7, "out_channels": 3, "num_channels": [7, 9]}, {})


def test_swapped_files_are_refused():
    config = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3, "norm_num_groups": 4,
              **AUTOENCODERS["plain"]}  # fmt: skip
    _, _, state, _ = released_vcm(channels=5)
    with pytest.raises(VcmError, match="swapped") as caught:
        translate_autoencoder(config, state)
    assert caught.value.code is Code.PACK_INVALID
