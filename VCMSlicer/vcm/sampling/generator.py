"""The one loop everything goes through: conditions and attributes in, Samples out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.core.errors import Code, VcmError, is_out_of_memory
from vcm.core.progress import OnProgress, ProgressMeter
from vcm.core.volume import Volume
from vcm.machine.runtime import Runtime, fix_results, free_memory
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control
from vcm.models.onednn import use_onednn
from vcm.models.preparers.preparer import Finish
from vcm.sampling.compiled_step import compile_step, wants_compiling
from vcm.sampling.cuda_graph import GraphedDenoiser
from vcm.sampling.kept_denoisers import KeptDenoisers
from vcm.sampling.loop import finishing, restored, run_sampler, spread_of
from vcm.sampling.memory_plan import MemoryPlan, out_of_memory, plan_memory
from vcm.sampling.noise_file import fitted_noise
from vcm.sampling.previews import Previews
from vcm.sampling.request import GenerateRequest, Sample
from vcm.sampling.samplers import Denoise, SamplerStep

OnPreview = Callable[[int, int, Volume], None]
"""Called with the Sample's place in the request, the step and the image predicted so far."""


MATCHING = "matching"
"""The stage in which a finished sample is brought to what image conditions show."""


@dataclass(frozen=True, eq=False)
class _Run:
    """One way to sample: steered, or the backbone alone; `name` goes before its stages.

    `spread` is restored in the finished latent, and `finish` is what preparers of conditions do with it then.
    """

    name: str
    scale_factor: float | None
    spread: Tensor | None
    finish: tuple[Finish, ...]


@dataclass(frozen=True, eq=False)
class _Sampling:
    """What is sampled together: a batch's latents for each of the `runs`, one run behind the other."""

    denoise: Denoise
    runs: tuple[_Run, ...]

    @property
    def stage(self) -> str:
        """What it is called, by the first of its runs."""
        return f"{self.runs[0].name}sampling"


@dataclass(frozen=True, eq=False)
class _Batch:
    """Samples made together, and whom to tell about them."""

    request: GenerateRequest
    first: int
    noise: Tensor
    plan: MemoryPlan
    meter: ProgressMeter
    on_preview: OnPreview | None
    cancelled: Callable[[], bool]

    def stop_if_cancelled(self) -> None:
        """Raise where the user has had enough."""
        stop_if(self.cancelled)


class Generator:
    """A backbone, and a control if wanted, loaded on a device and ready to generate again and again."""

    def __init__(self, backbone: Backbone, control: Control | None, runtime: Runtime, memory: str = "auto") -> None:
        self.backbone, self.control, self.runtime, self.memory = backbone, control, runtime, memory
        fix_results(runtime.device)
        self._placed = False
        self._place()
        self._previews = Previews(backbone)
        self._kept = KeptDenoisers(backbone, runtime.device, runtime.has_graphs)

    def plan(self, batch: int = 1) -> MemoryPlan:
        """How the memory will do for one batch, before anything is sampled."""
        device = self.runtime.device
        free = free_memory(device)
        if device.type == "cuda":
            # What PyTorch keeps for its next tensors is free to us, and the plan counts weights that lie there already.
            free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            free += sum(p.numel() * p.element_size() for p in self._parameters() if p.is_cuda)
        return plan_memory(self.backbone, self.control, self.runtime.dtype, batch, free, self.memory)

    @torch.no_grad()
    def generate(
        self,
        request: GenerateRequest,
        on_progress: OnProgress | None = None,
        on_preview: OnPreview | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Iterator[Sample]:
        """Yield the Samples of a request one by one, each as soon as it is finished.

        Sample n starts from the noise of seed + n, in each contrast asked for. `cancelled` is asked after every step.
        """
        request = request.on(self.backbone.process)
        if request.step_count > (known := self.backbone.process.timesteps - self.backbone.process.last):
            raise VcmError(Code.BAD_REQUEST, f"This model knows {known} steps; {request.step_count} were asked for.")
        self._place()
        plan = self._settled_plan(request.batch)
        self.backbone.slab_bytes = plan.slab_bytes
        given = request.noise
        if given is not None:
            given = fitted_noise(given, request.samples, self.backbone.latent_shape)
        finish = finishing(self.control, request.conditions, self.backbone)
        meter = self._meter(request, bool(finish), on_progress)
        inputs: list[list[float]] = []
        samplings: list[_Sampling] = []
        with self._memory_errors(plan, request.batch):
            for first in range(0, request.count, request.batch):
                members = range(first, min(first + request.batch, request.count))
                if inputs != (inputs := request.inputs(members)):
                    with self.runtime.autocast():
                        samplings = self._samplings(request, inputs, finish)
                noise = torch.stack([self._noise(request.seed, request.place(n)[0], given) for n in members])
                yield from self._batch(_Batch(request, first, noise, plan, meter, on_preview, cancelled), samplings)

    def _samplings(
        self, request: GenerateRequest, inputs: list[list[float]], finish: tuple[Finish, ...]
    ) -> list[_Sampling]:
        """The controlled run and, where asked for, its uncontrolled twin; conditions are encoded here, once.

        `inputs` are the raw attributes of each Sample of a batch, or one row for all.
        """
        control = self.control if request.conditions else None
        scale = control.decoding_scale(request.conditions) if control else None
        steered = _Run("", scale, spread_of(self.backbone, control, request.conditions), finish if control else ())
        alone = _Run("uncontrolled ", None, self.backbone.spread, ())
        if self._twins_together(request):
            (both,) = self._kept.denoisers(inputs, [control], request.conditions, with_twins=True)
            return [_Sampling(both, (steered, alone))]
        runs = [(control, steered)] + ([(None, alone)] if request.uncontrolled and control else [])
        denoisers = self._kept.denoisers(inputs, [steering for steering, _ in runs], request.conditions)
        return [_Sampling(denoiser, (run,)) for denoiser, (_, run) in zip(denoisers, runs, strict=True)]

    def _twins_together(self, request: GenerateRequest) -> bool:
        """Whether a Sample and its twin are one batch; the memory plan has room for that."""
        control = self.control if request.conditions else None
        return request.uncontrolled and control is not None and control.asks_plainly

    def _settled_plan(self, batch: int) -> MemoryPlan:
        """The plan of a request. What is kept of the last one gives way where it would make another plan of it."""
        try:
            plan = self.plan(batch)
        except VcmError:
            if not len(self._kept):
                raise
        else:
            if not len(self._kept) or plan.name == self._kept.plan:
                self._kept.plan = plan.name
                return plan
        self._kept.clear()
        return self._settled_plan(batch)

    def _batch(self, job: _Batch, samplings: list[_Sampling]) -> Iterator[Sample]:
        seconds: dict[str, float] = {}
        volumes: list[list[Volume]] = []
        for sampling in samplings:
            with self._timed(seconds, sampling.stage), self.runtime.autocast_steps():
                latents = run_sampler(
                    sampling.denoise,
                    self.backbone,
                    torch.cat([job.noise.to(self.runtime.device)] * len(sampling.runs)),
                    job.request.sampler,
                    job.request.step_count,
                    partial(self._after_step, job, sampling),
                )
            with self._out_of_the_way(job.plan, samplings):
                for run, latent in zip(sampling.runs, latents.chunk(len(sampling.runs)), strict=True):
                    volumes.append(self._finished(job, run, latent, seconds))
        each = {stage: value / len(job.noise) for stage, value in seconds.items()}
        twins: list[Volume] | list[None] = volumes[1] if len(volumes) > 1 else [None] * len(job.noise)
        for offset, (volume, twin) in enumerate(zip(volumes[0], twins, strict=True)):
            index, variant = job.request.place(job.first + offset)
            yield Sample(index, job.request.seed + index, volume, job.noise[offset].numpy(), twin, each, variant)

    def _finished(self, job: _Batch, run: _Run, latent: Tensor, seconds: dict[str, float]) -> list[Volume]:
        """The images of the latents that a run has come to."""
        latent = restored(latent, run.spread)
        if run.finish:
            with self._timed(seconds, MATCHING), self.runtime.autocast():
                for change in run.finish:
                    latent = change(latent, run.scale_factor)
            job.meter.advance(MATCHING)
            job.stop_if_cancelled()
        with self._timed(seconds, f"{run.name}decoding"):
            images = self._decode(latent, run.scale_factor)
        self._refuse_broken(images)
        job.meter.advance(f"{run.name}decoding")
        return images

    def _after_step(self, job: _Batch, sampling: _Sampling, step: SamplerStep) -> None:
        job.stop_if_cancelled()
        job.meter.advance(sampling.stage)
        run, every = sampling.runs[0], job.request.preview_every
        if job.on_preview and every and not run.name and step.index % every == 0 and step.index < step.total:
            for offset, clean in enumerate(step.clean[: len(job.noise)]):
                image = self._previews.image(clean, run.scale_factor, partial(self._decoded, scale=run.scale_factor))
                job.on_preview(job.first + offset, step.index, Volume(image.numpy(), self.backbone.grid))

    def _noise(self, seed: int, index: int, given: NDArray[np.floating] | None) -> Tensor:
        if given is not None:
            return torch.from_numpy(given[index])
        return seeded_noise(seed + index, self.backbone.latent_shape)

    def _decode(self, latent: Tensor, scale: float | None) -> list[Volume]:
        return [Volume(self._decoded(z, scale).numpy(), self.backbone.grid) for z in latent]

    def _decoded(self, latent: Tensor, scale: float | None) -> Tensor:
        with self.runtime.autocast():
            return self.backbone.decode(latent[None], scale)[0, 0].cpu()

    def _refuse_broken(self, volumes: list[Volume]) -> None:
        if not all(np.isfinite(volume.array).all() for volume in volumes):
            raise VcmError(
                Code.INTERNAL,
                f"The model made an image that holds values which are not numbers, in {self.runtime.precision}.",
                "Use --precision fp32, and raw attributes within 0 and 1.",
            )

    def _meter(self, request: GenerateRequest, matching: bool, on_progress: OnProgress | None) -> ProgressMeter:
        batches = -(-request.count // request.batch)
        names = [""] + (["uncontrolled "] if request.uncontrolled and self.control and request.conditions else [])
        together = self._twins_together(request)
        stages = []
        for name in names:
            if not (name and together):
                cost = float(request.step_count) * (2 if together else 1)
                stages.append((f"{name}sampling", cost, batches * request.step_count))
            if matching and not name:
                stages.append((MATCHING, 60.0, batches))
            stages.append((f"{name}decoding", 20.0, batches))
        return ProgressMeter(stages, on_progress)

    def _parameters(self) -> Iterator[torch.nn.Parameter]:
        yield from self.backbone.parameters()
        if self.control is not None:
            yield from self.control.parameters()

    def _place(self) -> None:
        """Put the networks where they are used, unless they are there."""
        if self._placed:
            return
        self.backbone.place(self.runtime.device, self.runtime.dtype)
        if self.control is not None:
            self.control.to(self.runtime.device, self.runtime.dtype)
        if self.runtime.device.type == "cpu":
            use_onednn(self.backbone, self.control)
        if wants_compiling(self.runtime.device):
            compile_step(self.backbone.sampling_networks)
        self._placed = True

    @contextmanager
    def _timed(self, seconds: dict[str, float], stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.runtime.synchronise()
        seconds[stage] = time.perf_counter() - started

    @contextmanager
    def _out_of_the_way(self, plan: MemoryPlan, samplings: list[_Sampling]) -> Iterator[None]:
        """While decoding, keep the denoiser in main memory if the plan says so."""
        if not plan.offload or self.runtime.device.type == "cpu":
            yield
            return
        modules = [*self.backbone.sampling_networks, *([self.control] if self.control else [])]
        for sampling in samplings:
            if isinstance(sampling.denoise, GraphedDenoiser):
                sampling.denoise.forget()
        self._placed = False
        for module in modules:
            module.to("cpu")
        if self.runtime.device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            yield
        finally:
            for module in modules:
                module.to(self.runtime.device)
            self._placed = True

    @contextmanager
    def _memory_errors(self, plan: MemoryPlan, batch: int) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self._kept.clear()
            if self.runtime.device.type == "cuda":
                torch.cuda.empty_cache()
            raise out_of_memory(plan, batch) from error


def seeded_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Unit Gaussian noise of a seed, made on the CPU so that it is the same for every device."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def stop_if(cancelled: Callable[[], bool]) -> None:
    """End a generation that is no longer wanted."""
    if cancelled():
        raise VcmError(Code.CANCELLED, "The generation was cancelled.")
