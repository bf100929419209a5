"""What a control's training will need before it begins: memory, disk and time, and on what the figures rest.

Nothing is loaded. The networks are built without memory (PyTorch's `meta` device), where the tensors that the backward
pass keeps and the multiplications of a step can be counted; one convolution is timed on the machine at hand.
"""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vcm.cohort.learning_cases import condition_specs
from vcm.conditions.condition import ConditionSpec, Kind
from vcm.machine.runtime import autocast_bf16, choose_runtime, free_memory
from vcm.models.controls.control import Step
from vcm.models.loading import BACKBONES
from vcm.packs.manifest import BackboneManifest
from vcm.packs.store import find_pack
from vcm.sampling.memory_plan import RESERVE, STEP_FACTOR
from vcm.training.control.run import new_control
from vcm.training.control.settings import ControlSettings

CARD = 24e9
"""The memory of the graphics card that a full-size control should be content with, in bytes."""

TRAINED_BYTES = 20
"""A weight that learns: itself, its gradient, two moments and its average, in fp32."""

BACKWARD = 3
"""A step that learns costs so many times its forward pass."""


@dataclass(frozen=True)
class Needs:
    """Bytes and multiplications of a training; `kept` is what the backward pass keeps of one item, `encoder` the
    largest part of it that one condition's encoder is to blame for."""

    fixed: float
    kept: float
    encoder: float
    passing: float
    operations: float
    frozen_operations: float
    encoder_operations: float
    case_bytes: float

    def memory(self, items: int, recompute: bool) -> float:
        """The peak with so many items at once."""
        return RESERVE * (self.fixed + items * ((self.encoder if recompute else self.kept) + self.passing))

    def work(self, recompute: bool) -> float:
        """Floating-point operations of one item, forward and backward."""
        again = self.encoder_operations if recompute else 0.0
        return self.frozen_operations + BACKWARD * self.operations + again


def plan_control(settings: ControlSettings, cases: int, cohort: Path, device: str = "auto") -> list[str]:
    """The plan in sentences."""
    manifest = find_pack(settings.backbone).backbone
    specs = condition_specs(settings.conditions)
    needs = estimate(manifest, settings, specs)
    runtime = choose_runtime(device)
    items = settings.micro_batch or settings.batch
    needed, free = needs.memory(items, settings.recompute), free_memory(runtime.device)
    where = "GPU memory" if runtime.device.type == "cuda" else "memory"
    lines = [
        f"Memory: about {needed / 1e9:.1f} GB with {items} items at once ({free / 1e9:.1f} GB of {where} are free "
        "here), estimated from the networks' shapes as if all were kept in fp32.",
        *_advice(needs, settings, min(free, CARD) if runtime.device.type == "cuda" else CARD, items),
    ]
    disk, there = cases * needs.case_bytes, _free_disk(cohort)
    lines.append(
        f"Disk: {disk / 1e9:.2f} GB for the latents and conditions of {cases} cases ({there / 1e9:.1f} GB are free)."
    )
    speed = _speed(runtime.device, settings.precision)
    seconds = settings.steps * settings.batch * needs.work(settings.recompute) / speed
    lines.append(
        f"Time: about {_words(seconds)} for {settings.steps} steps of batch {settings.batch}: "
        f"{needs.work(settings.recompute) / 1e12:.2g} TFLOP an item, at the {speed / 1e12:.2g} TFLOP/s of a "
        f"convolution timed just now on {runtime.words} in {settings.precision}. A whole network is slower "
        "than one convolution: it may well be twice that."
    )
    return lines


def estimate(manifest: BackboneManifest, settings: ControlSettings, specs: tuple[ConditionSpec, ...]) -> Needs:
    """Count what the networks of these settings need."""
    with torch.device("meta"):
        control = new_control(settings, manifest, specs).to("meta")
        backbone = BACKBONES[manifest.family].outline(manifest).to("meta").requires_grad_(False)
        latent, t = torch.empty(1, *backbone.latent_shape), torch.empty(1)
        inputs = torch.empty(1, len(manifest.attributes))
        conditions = {spec.name: torch.empty(1, spec.channels, *manifest.grid.shape) for spec in specs}
        conditions |= dict.fromkeys(control.latent_conditions, latent)
    step = Step.on(backbone, inputs, latent, t, known=latent)
    keeping = _Keeping(control)
    marks = [(0, 0)]
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keeping.take, _as_it_is):
        control.learn(step, conditions, after_encoder=lambda: marks.append((keeping.total, counter.get_total_flops())))
    encoders, encoder_operations = marks[-1]
    each = [after - before for (before, _), (after, _) in pairwise(marks)]
    with FlopCounterMode(display=False) as frozen, torch.no_grad():
        backbone.predict(latent, t, inputs)
    bf16 = 0 if settings.precision == "fp32" else 2
    trained, still = _count(control), _count(backbone)
    rest = keeping.total - encoders
    voxels = math.prod(manifest.grid.shape)
    return Needs(
        fixed=trained * (TRAINED_BYTES + bf16) + still * (4 + bf16),
        kept=keeping.total,
        encoder=max(each, default=0) + rest,
        passing=STEP_FACTOR * 4 * backbone.step_elements() + 4 * sum(spec.channels for spec in specs) * voxels,
        operations=counter.get_total_flops(),
        frozen_operations=frozen.get_total_flops(),
        encoder_operations=encoder_operations,
        case_bytes=(8 + 4 * len(control.latent_conditions)) * latent.numel()
        + sum(voxels / 8 if spec.kind is Kind.MASK else voxels for spec in specs),
    )


class _Keeping:
    """Adds up the tensors that autograd keeps, each once; the weights are there anyway."""

    def __init__(self, network: nn.Module) -> None:
        self._seen: dict[int, Any] = {p.untyped_storage()._cdata: p for p in network.parameters()}
        self.total = 0

    def take(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen[storage._cdata] = tensor
            self.total += storage.nbytes()
        return tensor


def _advice(needs: Needs, settings: ControlSettings, room: float, items: int) -> list[str]:
    """How it fits into the room there is, if it does not yet."""
    if needs.memory(items, settings.recompute) <= room:
        return []
    for recompute in dict.fromkeys((settings.recompute, True)):
        fitting = [n for n in (16, 8, 4, 2, 1) if n < items or recompute != settings.recompute]
        for fewer in fitting:
            if fewer <= items and needs.memory(fewer, recompute) <= room:
                means = f"micro_batch = {fewer}" + (" and recompute = true" if recompute else "")
                return [
                    f"That is more than {room / 1e9:.0f} GB. With {means} it is about "
                    f"{needs.memory(fewer, recompute) / 1e9:.1f} GB, and the same is learned."
                ]
    return [f"That is more than {room / 1e9:.0f} GB, and no smaller part of a batch would fit."]


def _speed(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a 3-D convolution, forward."""
    channels, sizes = 64, (20, 28, 20)
    convolution = nn.Conv3d(channels, channels, 3, padding=1).to(device)
    image = torch.randn(4, channels, *sizes, device=device)
    operations = 2 * 4 * channels * channels * 27 * math.prod(sizes)
    best = 0.0
    with torch.no_grad(), autocast_bf16(device, precision):
        for _ in range(4):
            started = time.perf_counter()
            float(convolution(image).sum())  # waits for the device
            best = max(best, operations / (time.perf_counter() - started))
    return best


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _free_disk(folder: Path) -> int:
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def _words(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(seconds / 60, 1):.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor
