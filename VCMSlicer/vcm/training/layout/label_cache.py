"""Label maps of cases in memory, and what is known of their heads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vcm.cohort.learning_cases import CohortCase
from vcm.core.errors import Code, VcmError
from vcm.training.data.latent_cache import CASE_FAULTS


class LabelCache:
    """Label maps `[i, j, k]` as bytes and attributes, NaN where unknown. A case that cannot be read, or holds a label
    above `highest`, is reported and left out."""

    def __init__(
        self, cases: Sequence[CohortCase], attributes: Sequence[str], highest: int, say: Callable[[str], object]
    ) -> None:
        maps, values, names = [], [], []
        for case in cases:
            try:
                labels = np.ascontiguousarray(case.labels())
                if labels.max() > highest:
                    raise VcmError(Code.CONDITION, f"It holds the label {labels.max()}, and the highest is {highest}.")
            except VcmError as error:
                if error.code not in CASE_FAULTS:
                    raise
                say(f"Case {case.name} is left out. {error.sentence}")
                continue
            maps.append(torch.from_numpy(labels))
            values.append([case.attributes.get(name, np.nan) for name in attributes])
            names.append(case.name)
        if not maps:
            raise VcmError(Code.BAD_REQUEST, f"None of the {len(cases)} cases can be used for training.")
        self.maps, self.attributes, self.names = torch.stack(maps), torch.tensor(values), tuple(names)
        self.grid = cases[0].grid

    def __len__(self) -> int:
        return len(self.maps)

    @property
    def identity(self) -> str:
        """What cases these are, in one word."""
        return hashlib.sha256(" ".join(self.names).encode()).hexdigest()[:16]

    def labels(self, items: Sequence[int], mirrored: Sequence[bool]) -> Tensor:
        """Label maps `[B, i, j, k]` of these items, some of them mirrored from left to right."""
        found = self.maps[list(items)].clone()
        for place, flip in enumerate(mirrored):
            if flip:
                found[place] = found[place].flip(self.grid.left_right)
        return found.long()
