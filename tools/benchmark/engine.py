"""The engine's way: the Generator that `vcm generate` runs, with the published networks' weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.autoencoders import build_autoencoder
from vcm.models.backbones.backbone import Backbone
from vcm.models.backbones.latent_diffusion import build_denoiser
from vcm.models.backbones.published import translate_autoencoder, translate_denoiser
from vcm.models.controls.control import Control
from vcm.models.controls.published import translate_control
from vcm.models.loading import BACKBONES, CONTROLS
from vcm.models.process import process_from
from vcm.sampling.cuda_graph import GraphedDenoiser
from vcm.sampling.generator import Generator
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.request import GenerateRequest
from vcm.sampling.samplers import DEFAULT_STEPS, ddim

from benchmark.published import PublishedNetworks
from benchmark.setting import Setting
from benchmark.way import AfterStep, weight_bytes


class EngineWay:
    """The engine with the same weights: the condition encoded once, the step as a CUDA graph, a planned decoder."""

    name = "engine"

    def __init__(self, setting: Setting, networks: PublishedNetworks) -> None:
        self.setting = setting
        self.sample_steps = DEFAULT_STEPS["dpm++"]
        runtime = setting.runtime
        backbone, control = translate(setting, networks)
        self.generator = Generator(backbone, control, runtime, setting.memory)
        self.backbone, self.control = backbone, control
        self.weight_bytes = weight_bytes(backbone, control)
        plan = self.generator.plan()
        self.backbone.slab_bytes = plan.slab_bytes
        raw = torch.tensor([[value.raw for value in setting.attributes]])
        self.attributes = raw.to(runtime.device)
        graph = "the step a CUDA graph" if runtime.has_graphs else "the step launched"
        self.words = f"{runtime.precision} weights, condition encoded once, {graph}; {plan.words}"

    @torch.no_grad()
    def encode_condition(self) -> None:
        self._guided()

    @torch.no_grad()
    def first_eps(self) -> Tensor:
        timesteps, steps = self.backbone.process.timesteps, self.setting.steps
        return self._guided()(self.setting.noise, float((steps - 1) * (timesteps // steps))).value

    @torch.no_grad()
    def ddim(self, steps: int, after_step: AfterStep = lambda: None) -> Tensor:
        guided = self._guided()
        denoise = GraphedDenoiser(guided) if self.setting.runtime.has_graphs else guided
        return ddim(denoise, self.setting.noise, self.backbone.process, steps, lambda _: after_step())

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        return self.backbone.decode(latent, self.control.scale_factor)

    def sample(self) -> None:
        noise = self.setting.noise.cpu().numpy()
        list(self.generator.generate(GenerateRequest(self.setting.attributes, self.setting.conditions, noise=noise)))

    def _guided(self) -> GuidedDenoiser:
        return GuidedDenoiser(self.backbone, self.attributes, self.control, self.setting.conditions)


def translate(setting: Setting, networks: PublishedNetworks) -> tuple[Backbone, Control]:
    """The engine's backbone and control with the published networks' weights, on the CPU in fp32."""
    config = setting.config
    arguments, weights = translate_autoencoder(config.networks["autoencoder"], networks.autoencoder.state_dict())
    with torch.device("meta"):
        autoencoder = build_autoencoder(arguments)
    autoencoder.load_state_dict(_on_cpu(weights), assign=True)
    arguments, weights = translate_denoiser(config.networks["diffusion"], networks.denoiser.state_dict())
    with torch.device("meta"):
        denoiser = build_denoiser(arguments)
    denoiser.load_state_dict(_on_cpu(weights), assign=True)
    family: Any = BACKBONES["latent-diffusion"]
    backbone = family(
        grid=config.grid,
        latent_shape=(config.latent_channels, *config.latent_shape),
        process=process_from(config.schedule),
        attributes=tuple(map(AttributeSpec.from_dict, config.attributes)),
        autoencoder=autoencoder,
        denoiser=denoiser,
        scale_factor=config.scale_factor,
    )
    specs = tuple(map(ConditionSpec.from_dict, config.conditions))
    arguments, weights = translate_control(
        config.networks["vcm_encoder"], config.networks["vcm_unet"], networks.vcm.state_dict()
    )
    with torch.device("meta"):
        control = CONTROLS["vcm"].create(arguments, specs, config.control_scale_factor)
    control.network.load_state_dict(_on_cpu(weights), assign=True)
    return backbone.eval(), control.eval()


def _on_cpu(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu() for name, tensor in weights.items()}
