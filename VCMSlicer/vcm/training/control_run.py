"""A training from folders to folders: pack and cohort in, a run's folder and at its end a pack out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from vcm.atomic_files import atomic_path, write_json
from vcm.conditions import ConditionSpec
from vcm.controls.vcm_control import VcmControl
from vcm.judging.mean_interval import mean_with_interval
from vcm.judging.segmentation import PackSegmenter
from vcm.loading import build_control, load_backbone
from vcm.packs.store import find_pack
from vcm.training.cohort_files import read_cases
from vcm.training.control import CHECKPOINT, ControlTrainer, Progress
from vcm.training.control_config import ControlTraining
from vcm.training.control_export import Provenance, condition_entries, network_config, write_control_pack
from vcm.training.latent_cache import LatentCache, write_cache
from vcm.training.obedience import Examiner, Obedience

CACHE = "latents"


class ControlRun:
    """One training of a control: its settings, its cohort, its folder. Made again, it stands where it was saved."""

    def __init__(
        self, settings: ControlTraining, cases: Path, folder: Path, device: str, say: Callable[[str], object]
    ) -> None:
        self.settings, self.folder, self.say = settings, folder, say
        self.pack = find_pack(settings.backbone)
        self.backbone = load_backbone(self.pack).requires_grad_(False).to(device)
        self.cases = read_cases(cases)
        cached = cases / CACHE
        fingerprint = self.pack.backbone.files["autoencoder"].sha256
        for done, _ in enumerate(write_cache(self.backbone, fingerprint, self.cases, settings.conditions, cached), 1):
            if done % 20 == 0:
                say(f"latents of {done} of {len(self.cases)} cases are there")
        names = [case.name for case in self.cases]
        cache = LatentCache(cached, names, settings.conditions, self.backbone.grid.shape)
        torch.manual_seed(settings.seed)
        network = build_control(network_config(self.pack), dict.fromkeys(settings.conditions, 1)).to(device)
        for name in settings.conditions:
            typical = network.get_buffer(f"typical_{name}")
            i, j, k = typical.shape[1:]
            typical.copy_(cache.typical(name, (i, j, k)))
        self.trainer = ControlTrainer(settings, self.backbone, network, cache, folder)
        if (folder / CHECKPOINT).is_file():
            self.trainer.resume()
            say(f"going on from step {self.trainer.step}")

    def train(self, minutes: float = math.inf, examiner: Examiner | None = None, measure_every: float = 15) -> bool:
        """Train for `minutes`; with an examiner, measure every so many minutes and at the end."""
        measured_at = time.monotonic()

        def measure() -> None:
            nonlocal measured_at
            last = self.trainer.step >= self.settings.steps
            if examiner and (last or time.monotonic() - measured_at >= measure_every * 60):
                self.measure(examiner)
                measured_at = time.monotonic()

        return self.trainer.train(minutes, on_progress=self._tell, on_save=measure)

    def measure(self, examiner: Examiner) -> list[Obedience]:
        """Sample the held-out cases with the averaged weights; the figures are said and kept in the run's folder."""
        control = VcmControl(self.trainer.average.network, (examiner.spec,))
        results = examiner.examine(control)
        figures = {
            name: mean_with_interval(getattr(r, name) for r in results)
            for name in ("controlled", "uncontrolled", "reconstructed")
        }
        self.say(
            f"step {self.trainer.step}: Dice "
            + ", ".join(f"{name} {mean:.3f} ({low:.3f}–{high:.3f})" for name, (mean, low, high) in figures.items())
        )
        write_json(self.folder / f"measured-{self.trainer.step:06d}.json", {"cases": len(results), **figures})
        save_montage(self.folder / f"measured-{self.trainer.step:06d}.png", examiner, results)
        return results

    def examiner(self, cohort: Path, count: int) -> Examiner:
        """An examiner over the first cases of another cohort."""
        cases = read_cases(cohort)[:count]
        spec = ConditionSpec.from_dict(condition_entries(self.settings.conditions, cases)[0])
        return Examiner(self.backbone, PackSegmenter.from_pack(self.pack), spec, cases)

    def export(
        self, folder: Path, examiner: Examiner, hardware: str, command: str, data: str, montage: Path | None = None
    ) -> None:
        """Measure the averaged weights and write them as a pack."""
        network = self.trainer.average.network
        network.half().float()  # measured as they are shipped
        results = self.measure(examiner)
        provenance = Provenance(
            command=command,
            hardware=hardware,
            minutes=self.trainer.seconds / 60,
            steps=self.trainer.step,
            heads=len({case.head for case in self.cases}),
            cases=len(self.cases),
            data=data,
        )
        write_control_pack(folder, network, self.pack, self.settings, self.cases, provenance, results)
        if montage:
            save_montage(montage, examiner, results)

    def _tell(self, progress: Progress) -> None:
        minutes, errors = progress.seconds / 60, (progress.v_error, progress.v_error_uncontrolled)
        self.say(
            f"step {progress.step} of {self.settings.steps}, {minutes:.1f} min: loss {progress.loss:.4f}, "
            "error of v {:.4f}, without control {:.4f}".format(*errors)
        )


def save_montage(path: Path, examiner: Examiner, results: Sequence[Obedience], most: int = 10) -> None:
    """A row a case: the controlled sample in three planes, the same with the mask's outline, the twin without control.

    The planes go through the middle of the mask.
    """
    from PIL import Image

    rows = []
    for case, result in list(zip(examiner.cases, results, strict=True))[:most]:
        mask = examiner.asked(case)
        middle = [round(index) for index in np.argwhere(mask).mean(axis=0)]
        tiles = []
        for array, outlined in ((result.sample.array, False), (result.sample.array, True), (result.twin.array, False)):
            for axis in (2, 1, 0):
                plane = np.take(array, middle[axis], axis=axis)
                picture = np.repeat((plane.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=-1)
                if outlined:
                    picture[_outline(np.take(mask, middle[axis], axis=axis))] = (255, 170, 0)
                tile = np.zeros((112, 112, 3), np.uint8)
                tile[: picture.shape[1], : picture.shape[0]] = np.rot90(picture)
                tiles.append(tile)
        rows.append(np.hstack(tiles))
    with atomic_path(path) as temporary:
        Image.fromarray(np.vstack(rows)).resize((9 * 224, len(rows) * 224)).save(temporary)


def _outline(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask) & ~mask
