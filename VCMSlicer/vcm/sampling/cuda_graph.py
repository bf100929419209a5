"""The sampling step as a CUDA graph: captured once, replayed at every later step.

A step of a latent diffusion model is thousands of small kernels, and launching them takes longer than running them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from vcm.models.process import Prediction
from vcm.sampling.guidance import GuidedDenoiser

Kind = tuple[frozenset[str], torch.Size]
"""Steps with the same acting conditions and shape of latents are one graph."""


@dataclass(frozen=True, eq=False)
class _CapturedStep:
    """A graph with the tensors it reads and the one it writes; they stay where they are."""

    graph: torch.cuda.CUDAGraph
    latent: Tensor
    times: Tensor
    guided: Tensor

    def replay(self, latent: Tensor, t: float) -> Tensor:
        self.latent.copy_(latent)
        self.times.fill_(t)
        self.graph.replay()
        return self.guided.clone()


class GraphedDenoiser:
    """A `GuidedDenoiser` whose step is captured once for each set of acting conditions, then replayed.

    It is called like the denoiser it wraps. The result is a tensor of its own, so that samplers may keep it. The first
    step of a kind is launched as it stands, which also readies CUDA's libraries for the capture at the second; a step
    that cannot be captured goes on being launched, with a warning.
    """

    def __init__(self, denoiser: GuidedDenoiser) -> None:
        self.denoiser = denoiser
        self._launched: set[Kind] = set()
        self._captured: dict[Kind, _CapturedStep | None] = {}
        self._stream: torch.cuda.Stream | None = None

    @torch.no_grad()
    def __call__(self, latent: Tensor, t: float) -> Prediction:
        """The guided prediction for latents `[B, *latent_shape]` at time `t`."""
        kind = (self.denoiser.acting(t), latent.shape)
        if kind not in self._launched:
            self._launched.add(kind)
            return self.denoiser(latent, t)
        if kind not in self._captured:
            self._captured[kind] = self._try_to_capture(latent, t, kind[0])
        step = self._captured[kind]
        if step is None:
            return self.denoiser(latent, t)
        process = self.denoiser.backbone.process
        return Prediction(latent, step.replay(latent, t), process.guided, process.bound)

    def forget(self) -> None:
        """Drop what was captured: the weights have moved, and a graph knows them by address."""
        self._captured.clear()

    def _try_to_capture(self, latent: Tensor, t: float, acting: frozenset[str]) -> _CapturedStep | None:
        try:
            return self._capture(latent, t, acting)
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(
                f"The sampling step could not be captured as a CUDA graph, so every step is slower: {reason}",
                RuntimeWarning,
                stacklevel=3,
            )
            return None

    def _capture(self, latent: Tensor, t: float, acting: frozenset[str]) -> _CapturedStep:
        static, graph = latent.clone(), torch.cuda.CUDAGraph()
        times = torch.full((len(latent),), t, device=latent.device, dtype=torch.float32)
        # Graphs of one denoiser never run at the same time and their results are copied at once, so they may share
        # memory; for that, PyTorch wants one stream for all captures. Its own default stream is bound to one device.
        with torch.cuda.device(latent.device):
            self._stream = self._stream or torch.cuda.Stream()
            pool = next((step.graph.pool() for step in self._captured.values() if step), None)
            with torch.cuda.graph(graph, pool=pool, stream=self._stream, capture_error_mode="thread_local"):
                guided = self.denoiser.step(static, times, acting)
        return _CapturedStep(graph, static, times, guided)


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, also where the end of the capture failed as a consequence."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        error = error.__context__
    return False
