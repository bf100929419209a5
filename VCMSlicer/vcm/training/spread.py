"""What finished samples lack of the spread of real heads, place by place.

A denoiser that was trained for hours foresees less than there is: its samples are too alike, least where a condition
says what is there, most in the cortex and in the skull. The images are too smooth for it. What is missing is measured
once on cases, kept with a pack, and restored in every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.cohort.files import CaseEntry
from vcm.cohort.learning_cases import CohortCase, LearningCase
from vcm.conditions.condition import Condition
from vcm.core.errors import Code, VcmError
from vcm.core.volume import Volume
from vcm.machine.runtime import choose_runtime
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control
from vcm.models.loading import load_backbone, load_control
from vcm.packs.manifest import ControlManifest, UsualSampling
from vcm.packs.store import Pack, find_pack
from vcm.packs.tensors.checkpoints import read_checkpoint, write_weights
from vcm.sampling.generator import seeded_noise
from vcm.sampling.guidance import GuidedDenoiser
from vcm.sampling.loop import run_sampler
from vcm.sampling.samplers import DEFAULT_STEPS
from vcm.training.kinds import settings_of
from vcm.training.trainer.checkpoint import claim_run, load_last

SPREAD = "spread.safetensors"
"""In a training's folder: what its samples lack."""
FEWEST = 8
"""With fewer cases the spread at a place is not known."""
SMOOTHED_MM = 12.0
MOST = 1.5
"""Where cases differ that much more, at the corners of a grid, a factor would make ripples in the air."""


def measure_spread_of(
    run: Path,
    pack: Pack,
    cases: Sequence[CaseEntry],
    *,
    backbone: Pack | None = None,
    device: str = "auto",
    on_case: Callable[[int, int], object] = lambda done, of: None,
) -> Tensor:
    """What the samples of `pack`, exported from a training in `run`, lack; kept in that folder for the next export.

    `backbone` stands in for the one that a control's pack names.
    """
    kind = settings_of(run).kind
    of_control = isinstance(pack.manifest, ControlManifest)
    if kind != ("control" if of_control else "denoiser"):
        raise VcmError(
            Code.BAD_REQUEST,
            f"{run} holds the training of a {kind}, and {pack.name} is no pack of one.",
            "Give a denoiser's or a control's training, and the pack that was exported from it.",
        )
    model = backbone or (find_pack(pack.control.backbone.name) if of_control else pack)
    runtime = choose_runtime(device)
    network = load_backbone(model)
    network.place(runtime.device, torch.float32)
    control = load_control(pack).to(runtime.device, torch.float32) if of_control else None
    grid = model.backbone.grid
    factor = measure_spread(
        network,
        control,
        [CohortCase(case, grid) for case in cases],
        model.backbone.sampling,
        lambda done: on_case(done, len(cases)),
    )
    with claim_run(run):
        write_weights(run / SPREAD, {"spread": factor, "step": torch.tensor(_step_of(run))})
    return factor


def kept_spread(run: Path, step: int) -> dict[str, Tensor] | None:
    """What was measured in a run's folder; refused where the training, now at `step`, has gone on since."""
    if not (run / SPREAD).is_file():
        return None
    tensors = read_checkpoint(run / SPREAD)
    if (measured := int(tensors.pop("step"))) != step:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The spread in {run} was measured at step {measured}, and the training has come to step {step}.",
            f"Delete {SPREAD} there, export, and measure it again with vcm train spread.",
        )
    return tensors


def _step_of(run: Path) -> int:
    state = load_last(run, lambda words: None)
    if state is None:
        raise VcmError(Code.FILE_MISSING, f"There is no checkpoint in {run}.", "Give the folder of a training.")
    return int(state["step"])


def measure_spread(
    backbone: Backbone,
    control: Control | None,
    cases: Sequence[LearningCase],
    sampling: UsualSampling,
    on_case: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """By what factor, at each place of the latent `[i, j, k]`, samples under the cases' own conditions, or without a
    control, fall short of the cases' spread. What was measured before plays no part."""
    _check(backbone, len(cases))
    specs = control.conditions if control is not None else ()
    sampler, steps = sampling.chosen(None, None)
    real: list[NDArray[np.float32]] = []
    made: list[NDArray[np.float32]] = []
    for seed, case in enumerate(cases):
        arrays = case.conditions(specs)
        conditions = [Condition(spec, Volume(arrays[spec.name], backbone.grid)) for spec in specs]
        inputs = torch.tensor([[case.attributes[spec.name] for spec in backbone.attributes]]).to(backbone.device)
        noise = seeded_noise(seed, backbone.latent_shape)[None]
        image = torch.from_numpy(case.image())[None, None].to(backbone.device)
        with torch.no_grad():
            guided = GuidedDenoiser(backbone, inputs, control, conditions)
            sample = run_sampler(guided, backbone, noise.to(backbone.device), sampler, steps or DEFAULT_STEPS[sampler])
            for latents, latent in ((real, backbone.encode(image)), (made, sample)):
                latents.append(latent[0].float().cpu().numpy())
        on_case(seed + 1)
    spacing = np.array(backbone.grid.spacing) * backbone.grid.shape / backbone.latent_shape[1:]
    return torch.from_numpy(missing_spread(np.stack(real), np.stack(made), spacing, backbone.grid.left_right))


def missing_spread(
    real: NDArray[np.float32], made: NDArray[np.float32], spacing: NDArray[np.float64], left_right: int
) -> NDArray[np.float32]:
    """The factor from latents `[N, C, i, j, k]` that were made to real ones, alike for all channels and on both sides.

    Few cases tell the spread at one place badly, so each place has that of what lies around it.
    """
    from scipy import ndimage

    def around(latents: NDArray[np.float32]) -> NDArray[np.float64]:
        variance = latents.var(axis=0, dtype=np.float64).mean(axis=0)
        both = variance + np.flip(variance, left_right)
        return np.asarray(ndimage.gaussian_filter(both, SMOOTHED_MM / spacing))

    factor = np.sqrt(around(real) / np.maximum(around(made), 1e-6))
    return factor.clip(1 / MOST, MOST).astype(np.float32)


def _check(backbone: Backbone, cases: int) -> None:
    if cases < FEWEST:
        raise VcmError(Code.BAD_REQUEST, f"The spread is measured on {FEWEST} cases or more, not on {cases}.")
    if not backbone.own_whitening()[0].any():
        raise VcmError(
            Code.BAD_REQUEST,
            "The spread is measured about the mean of the latents, which this backbone does not take out.",
            "Measure it for a backbone with a whitened latent.",
        )
