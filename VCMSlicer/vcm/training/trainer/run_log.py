"""What a training writes down as it goes: `log.csv`, always, and TensorBoard's files where that is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vcm.core.csv_tables import csv_text
from vcm.outputs.atomic_files import write_text

LOG = "log.csv"
BOARD = "tensorboard"


class RunLog:
    """The rows of the log and their curves. Checkpoints hold the rows too, so that both end at one step."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        self.folder, self.columns = folder, tuple(columns)
        self.rows: list[list[str]] = []
        self._board: Any = None

    def open_board(self, step: int) -> bool:
        """Start TensorBoard's curves again from `step`; whether TensorBoard is installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return False
        self._board = SummaryWriter(str(self.folder / BOARD), purge_step=step + 1)
        return True

    def add(self, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """A row, and a point of each curve."""
        self.rows.append([str(step), f"{seconds:.1f}", *(f"{figures[name]:.8g}" for name in self.columns[2:])])
        self.plot(step, {f"training/{name}": figures[name] for name in self.columns[2:]})

    def plot(self, step: int, figures: Mapping[str, float]) -> None:
        """Points of curves that are in no row."""
        if self._board:
            for name, value in figures.items():
                self._board.add_scalar(name, value, step)

    def show(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """A picture `[row, column, RGB]`."""
        if self._board:
            self._board.add_image(name, picture, step, dataformats="HWC")

    def save(self) -> None:
        """Put `log.csv` in place."""
        write_text(self.folder / LOG, csv_text([self.columns, *self.rows]))
        if self._board:
            self._board.flush()

    def close(self) -> None:
        """Let go of TensorBoard's files."""
        if self._board:
            self._board.close()
            self._board = None
