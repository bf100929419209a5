"""The processes that train together, through Hugging Face Accelerate: one, or several on one machine or on many.

Nothing else in the engine knows of Accelerate. Without a launcher the team is this process alone; started by
`accelerate launch` or `torchrun` it is all of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vcm.core.errors import Code, VcmError


class Team:
    """This process and its fellows. `device` is auto, cpu or cuda: where this process computes."""

    def __init__(self, device: str = "auto") -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise VcmError(
                Code.BAD_REQUEST,
                "Training needs the package accelerate, which is not installed.",
                "Install it in the repository's folder: pip install '.[train]'",
            ) from error
        from vcm.machine.runtime import choose_device

        chosen = choose_device(device)
        # Number formats are a setting of the training, not of the launcher; gradients are accumulated by the trainer.
        # Unless told that processors compute, Accelerate takes each of several processes without a GPU for one alone.
        self._accelerator = Accelerator(cpu=chosen.type == "cpu", mixed_precision="no")
        # Accelerate keeps the device that the first team of this process was given.
        alone = self._accelerator.num_processes == 1
        self.device: torch.device = chosen if alone and device != "auto" else self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.size: int = self._accelerator.num_processes

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks for all."""
        return self.rank == 0

    def share(self, count: int) -> list[int]:
        """This process's part of `count` things, next to each other and as even as can be.

        >>> team = object.__new__(Team); team.rank, team.size = 1, 2
        >>> team.share(5)
        [2, 3, 4]
        """
        return list(range(self.rank * count // self.size, (self.rank + 1) * count // self.size))

    def average_gradients(self, network: nn.Module) -> None:
        """Make everyone's gradients the mean of all; what has no gradient here has none elsewhere."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        joined = self.total(torch.cat([gradient.flatten() for gradient in gradients])) / self.size
        for gradient, mean in zip(gradients, joined.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def total(self, numbers: Tensor) -> Tensor:
        """The sum of a tensor over the team."""
        if self.size == 1:
            return numbers
        summed: Tensor = self._accelerator.reduce(numbers, "sum")
        return summed

    def gather(self, things: Sequence[Any]) -> list[Any]:
        """Everyone's things, in one list, for everyone."""
        if self.size == 1:
            return list(things)
        from accelerate.utils import gather_object

        return list(gather_object(list(things)))

    def wait(self) -> None:
        """Until all are here."""
        self._accelerator.wait_for_everyone()
