"""The released way: monai-generative's networks in the loop of the authors' notebook."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version

import torch
from torch import Tensor

from benchmark.published import PublishedNetworks
from benchmark.setting import Setting
from benchmark.way import AfterStep, weight_bytes


class ReleasedWay:
    """DDIM over fp32 weights under autocast; the condition is encoded at every step."""

    name = "released"

    def __init__(self, setting: Setting, networks: PublishedNetworks) -> None:
        from generative.networks.schedulers import DDIMScheduler

        self.setting, self.networks = setting, networks.to(setting.runtime.device)
        self.sample_steps = setting.steps
        self.weight_bytes = weight_bytes(networks)
        schedule = setting.config.schedule
        self.scheduler = DDIMScheduler(
            num_train_timesteps=schedule["timesteps"],
            schedule=f"{schedule['kind']}_beta",
            beta_start=schedule["beta_start"],
            beta_end=schedule["beta_end"],
            clip_sample=False,
        )
        raw = torch.tensor([[value.raw for value in setting.attributes]], device=setting.runtime.device)
        self.context = raw[:, None, :]
        self.planes = raw[:, :, None, None, None].expand(-1, -1, *setting.config.latent_shape)
        self.gpu = setting.runtime.device.type != "cpu"
        self.words = (
            f"monai-generative {version('monai-generative')}, fp32 weights, "
            f"{'fp16 autocast' if self.gpu else 'no autocast'}, condition encoded at every step"
        )

    @torch.no_grad()
    def encode_condition(self) -> None:
        with self._autocast():
            self.networks.vcm.modality_encoder(self.setting.channels)

    @torch.no_grad()
    def first_eps(self) -> Tensor:
        self.scheduler.set_timesteps(self.setting.steps)
        return self._eps(self.setting.noise, self.scheduler.timesteps[0]).float()

    @torch.no_grad()
    def ddim(self, steps: int, after_step: AfterStep = lambda: None) -> Tensor:
        self.scheduler.set_timesteps(steps)
        latent = self.setting.noise
        for t in self.scheduler.timesteps:
            latent, _ = self.scheduler.step(self._eps(latent, t), t, latent)
            after_step()
        return latent

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        with self._autocast():
            return self.networks.autoencoder.decode(latent / self.setting.config.control_scale_factor)

    def sample(self) -> None:
        self.decode(self.ddim(self.sample_steps)).float().cpu()

    def _eps(self, latent: Tensor, t: Tensor) -> Tensor:
        times = torch.Tensor((t,)).to(latent.device)
        context = self.context if self.networks.denoiser.with_conditioning else None
        taken = int(self.setting.config.networks["diffusion"]["in_channels"])
        with self._autocast():
            x = torch.cat([latent, self.planes], dim=1)[:, :taken]
            eps = self.networks.denoiser(x, timesteps=times, context=context)
            guided: Tensor = self.networks.vcm(latent, eps, times, self.setting.channels)
        return guided

    def _autocast(self) -> AbstractContextManager[object]:
        device = self.setting.runtime.device.type
        return torch.autocast(device, torch.float16) if self.gpu else nullcontext()
