"""Brings the images of a run into the scene without holding up the panel: files are read in pieces between events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import qt
from vcm.protocol import Generated

from VCMSlicerLib.scene.niftiFile import WorldImage, isNifti, readNiftiInPieces
from VCMSlicerLib.scene.scene import preload

SLICE_SECONDS = 0.015


def imagePaths(generated: Generated) -> list[str]:
    """The files of a run that come into the scene."""
    paths = [condition.path for condition in generated.conditions]
    for sample in generated.samples:
        own = (sample.path, sample.uncontrolled_path, sample.segmentation_path, sample.layout_path)
        paths += [path for path in own if path]
    return list(dict.fromkeys(paths))  # samples of several contrasts share a completed head


class Preloading:
    """Reads files for `scene.takeImage`, a little at each turn of the event loop, then calls `onReady(error)`.

    Each turn asks for the next: a timer connected to a method would hold this, the job and its images for ever.
    """

    def __init__(self, paths: list[str], onReady: Callable[[Exception | None], None]) -> None:
        self._work = _readAll(paths)
        self._onReady: Callable[[Exception | None], None] | None = onReady
        qt.QTimer.singleShot(0, self._goOn)

    def stop(self) -> None:
        """Read no further; `onReady` is not called."""
        self._onReady = None

    def _goOn(self) -> None:
        if self._onReady is None:
            return
        end = time.perf_counter() + SLICE_SECONDS
        error: Exception | None = None
        try:
            while time.perf_counter() < end:
                next(self._work)
            qt.QTimer.singleShot(0, self._goOn)
            return
        except StopIteration:
            pass
        except Exception as problem:
            error = problem
        # At a turn of its own: with the last piece before it, it would hold the window up for longer.
        qt.QTimer.singleShot(0, lambda: self._end(error))

    def _end(self, error: Exception | None) -> None:
        onReady, self._onReady = self._onReady, None
        if onReady is not None:
            onReady(error)


def _readAll(paths: list[str]) -> Iterator[None]:
    for path in filter(isNifti, paths):
        pieces: Generator[float, None, WorldImage] = readNiftiInPieces(Path(path))
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                preload(path, end.value)
                break
            yield
        yield
