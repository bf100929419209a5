"""Images and labels of cases in memory, for the networks that learn from images themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vcm.cohort.learning_cases import CohortCase
from vcm.core.errors import Code, VcmError
from vcm.training.data.latent_cache import CASE_FAULTS


class ImageCache:
    """Images in fp16 and, where wanted, the segmenter's labels. A case that cannot be read is reported and left out."""

    def __init__(self, cases: Sequence[CohortCase], labelled: bool, say: Callable[[str], object]) -> None:
        images, labels, names = [], [], []
        for case in cases:
            try:
                image = torch.from_numpy(case.image()).half()
                found = torch.from_numpy(np.ascontiguousarray(case.labels())) if labelled else torch.zeros(0)
            except VcmError as error:
                if error.code not in CASE_FAULTS:
                    raise
                say(f"Case {case.name} is left out. {error.sentence}")
                continue
            images.append(image)
            labels.append(found)
            names.append(case.name)
        if not images:
            raise VcmError(Code.BAD_REQUEST, f"None of the {len(cases)} cases can be used for training.")
        self.images, self.labels, self.names = torch.stack(images), torch.stack(labels), tuple(names)
        self.left_right = cases[0].grid.left_right

    def __len__(self) -> int:
        return len(self.images)

    def image(self, items: Sequence[int], mirrored: Sequence[bool], device: torch.device | str) -> Tensor:
        """`[B, 1, i, j, k]` in fp32."""
        return self._turned(self.images, items, mirrored).to(device).float()[:, None]

    def label(self, items: Sequence[int], mirrored: Sequence[bool], device: torch.device | str) -> Tensor:
        """`[B, 1, i, j, k]` of whole numbers."""
        return self._turned(self.labels, items, mirrored).to(device).long()[:, None]

    def label_maps(self) -> Iterator[NDArray[np.integer]]:
        """Those of all cases `[i, j, k]`, and their mirror images."""
        for labels in self.labels:
            yield labels.numpy()
            yield labels.flip(self.left_right).numpy()

    def _turned(self, stored: Tensor, items: Sequence[int], mirrored: Sequence[bool]) -> Tensor:
        turned = stored[list(items)]
        for place, flip in enumerate(mirrored):
            if flip:
                turned[place] = turned[place].flip(self.left_right)
        return turned
