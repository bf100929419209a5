"""The sampling step as a CUDA graph: launched once, replayed at every step.

A step of a latent diffusion model is thousands of small kernels, and launching them takes longer than running them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vcm.guidance import GuidedDenoiser


class GraphedDenoiser:
    """A `GuidedDenoiser` whose step is captured once for each set of acting conditions, then replayed.

    It is called like the denoiser it wraps. The result is a tensor of its own, so that samplers may keep it.
    """

    def __init__(self, denoiser: GuidedDenoiser, warm_up: int = 3) -> None:
        self.denoiser = denoiser
        self.warm_up = warm_up
        self._captured: dict[
            tuple[frozenset[str], torch.Size], tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]
        ] = {}

    def __call__(self, latent: Tensor, t: float) -> Tensor:
        """ε of latents `[B, *latent_shape]` at timestep `t`."""
        acting = self.denoiser.acting(t)
        key = (acting, latent.shape)
        if key not in self._captured:
            self._captured[key] = self._capture(latent, t, acting)
        graph, static_latent, static_t, static_eps = self._captured[key]
        static_latent.copy_(latent)
        static_t.fill_(t)
        graph.replay()
        return static_eps.clone()

    def forget(self) -> None:
        """Drop what was captured: the weights have moved, and a graph knows them by address."""
        self._captured.clear()

    def _capture(
        self, latent: Tensor, t: float, acting: frozenset[str]
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor]:
        static_latent = latent.clone()
        static_t = torch.full((latent.shape[0],), t, device=latent.device, dtype=torch.float32)
        aside = torch.cuda.Stream(latent.device)
        aside.wait_stream(torch.cuda.current_stream(latent.device))
        with torch.cuda.stream(aside):
            for _ in range(self.warm_up):
                self.denoiser.step(static_latent, static_t, acting)
        torch.cuda.current_stream(latent.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static_eps = self.denoiser.step(static_latent, static_t, acting)
        return graph, static_latent, static_t, static_eps
