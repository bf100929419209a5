"""FreeSurfer's `mri_synthseg` as an independent judge: its labels, brought to the numbering of our segmenters."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vcm.anatomy.structures import SEGMENTED
from vcm.conditions.condition import ClassSpec
from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_bytes
from vcm.core.volume import Volume
from vcm.outputs.claims import Claim, Mode
from vcm.volumes.resampling import resample_labels
from vcm.volumes.volume_files import read_volume, write_volume

EXECUTABLE = "mri_synthseg"


class SynthSeg:
    """Segments images of any contrast with an installed FreeSurfer (7.3 or newer), on the CPU; takes minutes.

    `executable` is `mri_synthseg` itself; `timeout_s` is how long one image may take.
    """

    name = "FreeSurfer's mri_synthseg"
    classes = tuple(ClassSpec(value, name) for value, (name, _) in SEGMENTED.items())

    def __init__(self, executable: Path, *, timeout_s: float = 1800.0) -> None:
        self.executable = executable
        self.timeout_s = timeout_s

    @classmethod
    def find(cls) -> SynthSeg | None:
        """The one on PATH, else the one under FREESURFER_HOME, else None."""
        home = os.environ.get("FREESURFER_HOME")
        found = shutil.which(EXECUTABLE) or (shutil.which(EXECUTABLE, path=str(Path(home) / "bin")) if home else None)
        return cls(Path(found)) if found else None

    def segment(self, image: Volume) -> Volume:
        """The `SEGMENTED` of an image as uint8 labels on the image's own Grid."""
        with tempfile.TemporaryDirectory(prefix="vcm-synthseg-") as folder:
            given, made, log = (Path(folder) / name for name in ("image.nii.gz", "labels.nii.gz", "log.txt"))
            with Claim(folder, mode=Mode.MEMBER):
                write_volume(given, Volume(image.array.astype(np.float32), image.grid))
            self._run(given, made, log)
            if not made.is_file():
                raise self._failure("it ended without writing a segmentation")
            labels = read_volume(made)
        # mri_synthseg answers at 1 mm, whatever it was given.
        return resample_labels(Volume(from_freesurfer(labels.array), labels.grid), image.grid)

    def _run(self, given: Path, made: Path, log: Path) -> None:
        """Its output goes to a file: a pipe would stay open, and block us, if a child outlived it."""
        command = [str(self.executable), "--i", str(given), "--o", str(made), "--cpu"]
        command += ["--threads", str(os.cpu_count() or 1)]
        # The script starts FreeSurfer's own Python, which it looks for on PATH.
        environment = {**os.environ, "PATH": f"{self.executable.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise self._failure(f"it could not be started: {error.strerror}") from error
        try:
            status = process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"it was stopped after {self.timeout_s:g} seconds") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if status:
            lines = read_bytes(log).decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise self._failure(f"it failed with status {status}: {lines[-1].strip()}")

    def _failure(self, reason: str) -> VcmError:
        return VcmError(
            Code.INTERNAL,
            f"The image could not be segmented with {self.executable}: {reason}.",
            "Choose the pack's own segmenter, or check FreeSurfer with: mri_synthseg --help",
        )


def from_freesurfer(labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """FreeSurfer's numbers replaced by those of `SEGMENTED`; any other is background.

    >>> from_freesurfer(np.array([43, 14, 1002, 0])).tolist()
    [4, 9, 0, 0]
    """
    result = np.zeros(labels.shape, np.uint8)
    for value, (_, numbers) in SEGMENTED.items():
        result[np.isin(labels, numbers)] = value
    return result
