"""T1w-like heads made from label maps: as many as wanted, each with its labels, skull image and attributes.

In the way of SynthSeg's generator (Billot et al., Medical Image Analysis 2023), with a warp that gives the lateral
ventricles any volume from 5 to 85 ml whatever the head they lie in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from vcm.grid import Grid
from vcm.training.head_image import Blocks, Look, paint
from vcm.training.head_shape import Head, Shape, source_positions
from vcm.training.label_maps import EXTRAVENTRICULAR_CSF, SEGMENTER_CLASSES, VENTRICLES, LabelMaps
from vcm.volume import Volume


@dataclass(frozen=True, eq=False)
class Case:
    """One made head on the backbone's Grid.

    `image` holds intensities in 0–1, `labels` the segmenter's classes, `skull` the image without what lies inside the
    skull. `attributes` are raw (0–1). `ventricles_ml` and `brain_ml` are measured on the 1 mm parts of the voxels.
    """

    name: str
    head: str
    image: Volume
    labels: Volume
    skull: Volume
    attributes: Mapping[str, float]
    ventricles_ml: float
    brain_ml: float


class CohortMaker:
    """Makes cases from label maps. The same seed and number make the same case, bit for bit, on the same device."""

    def __init__(
        self, maps: LabelMaps, seed: int, device: str | torch.device = "cpu", deformation: float = 1.0
    ) -> None:
        self.maps, self.seed, self.deformation = maps, seed, deformation
        self.device = torch.device(device)
        self._heads: dict[int, tuple[Head, Grid]] = {}

    @torch.no_grad()
    def make(self, number: int) -> Case:
        """Case `number`, from 0; the heads take turns."""
        rng = np.random.default_rng([self.seed, number])
        which = number % len(self.maps.files)
        head, grid = self._head(which)
        lender, _ = self._head(int(rng.integers(len(self.maps.files))))
        sex = float(rng.integers(2))
        shape = Shape.draw(rng, sex, self.deformation)
        blocks = Blocks.gather(head.positions, source_positions(shape, head, lender))
        labels, millilitres = blocks.classes(self.maps.table)
        image = paint(Look.draw(rng, self.maps.table), blocks)
        ventricles = millilitres[VENTRICLES]
        brain = sum(millilitres[value] for value in SEGMENTER_CLASSES if value != EXTRAVENTRICULAR_CSF)
        return Case(
            name=f"{number:05d}",
            head=self.maps.files[which].name.split(".")[0],
            image=Volume(image.cpu().numpy(), grid),
            labels=Volume(labels.cpu().numpy(), grid),
            skull=Volume(torch.where(blocks.outside_skull(self.maps.table), image, 0.0).cpu().numpy(), grid),
            attributes=attributes(sex, ventricles, brain, float(rng.normal())),
            ventricles_ml=ventricles,
            brain_ml=brain,
        )

    def _head(self, number: int) -> tuple[Head, Grid]:
        if number not in self._heads:
            positions, grid = self.maps.read(number)
            half = grid.downsampled([n // 2 for n in grid.shape])
            self._heads[number] = Head.prepare(positions, self.maps.table, self.device), half
        return self._heads[number]


def attributes(sex: float, ventricles_ml: float, brain_ml: float, surprise: float) -> dict[str, float]:
    """The raw scalars of a made head; `surprise` (standard normal) keeps age from following the ventricles exactly.

    Inventions that give the four inputs a meaning: no one was measured.

    >>> {name: round(value, 3) for name, value in attributes(1.0, 37.0, 1150.0, 0.0).items()}
    {'sex': 1.0, 'age': 0.656, 'ventricular_volume': 0.4, 'brain_volume': 0.5}
    """
    ventricles = float(np.clip((ventricles_ml - 5) / 80, 0, 1))
    return {
        "sex": sex,
        "age": float(np.clip(0.15 + 0.8 * ventricles**0.5 + 0.12 * surprise, 0, 1)),
        "ventricular_volume": ventricles,
        "brain_volume": float(np.clip((brain_ml - 850) / 600, 0, 1)),
    }
