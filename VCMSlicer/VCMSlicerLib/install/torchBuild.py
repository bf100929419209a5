"""Which build of PyTorch fits this computer; or that none does, before anything is downloaded."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from slicer.i18n import tr as _

from VCMSlicerLib.install.nvidiaCards import NvidiaCards, findNvidiaCards, hasNvidiaDriver

CPU, NVIDIA, APPLE = "cpu", "nvidia", "apple"
INDEX = "https://download.pytorch.org/whl/"
# Builds of the pinned version for NVIDIA: which cards each has kernels for, and which CUDA a driver has to run for it.
# PyPI's own build for Linux is that for CUDA 13.0.
CUDA_13, CUDA_12 = "cu130", "cu126"
CUDA_13_FROM, CUDA_13_DRIVER, CUDA_13_DRIVER_NAME = (7, 5), (13, 0), "580"
CUDA_12_FROM, CUDA_12_BELOW, CUDA_12_DRIVER, CUDA_12_DRIVER_NAME = (5, 0), (10, 0), (12, 0), "525"
LEAST_TORCH = (2, 6)
DEVICES = {CPU: "cpu", NVIDIA: "cuda", APPLE: "mps"}


@dataclass(frozen=True)
class TorchBuild:
    """One build: `processor` is what it computes on, `label` how PyTorch calls it, `index` where else than on PyPI it
    is, empty where PyPI has it; `remark` is what the user should know of the choice."""

    processor: str
    label: str = ""
    index: str = ""
    remark: str = ""

    def requirement(self, version: str) -> str:
        """What pip is asked for. With the label, an index that lacks the build is an error, and not another build."""
        return f"torch=={version}+{self.label}" if self.index else f"torch=={version}"

    @property
    def device(self) -> str:
        """What the check has to compute on."""
        return DEVICES[self.processor]


@dataclass(frozen=True)
class InstalledTorch:
    """A PyTorch that is in Slicer's own Python, such as the extension PyTorch puts there."""

    version: str
    folder: Path

    @property
    def usable(self) -> bool:
        """Whether the engine works with this version."""
        found = re.match(r"(\d+)\.(\d+)", self.version)
        return found is not None and (int(found[1]), int(found[2])) >= LEAST_TORCH

    @property
    def processor(self) -> str:
        """What it computes on, by its label; PyPI's build for Linux has none and is for NVIDIA."""
        label = self.version.partition("+")[2]
        if sys.platform == "darwin":
            return APPLE
        return NVIDIA if label.startswith("cu") or (not label and sys.platform == "linux") else CPU


def whyNone() -> tuple[str, str]:
    """Why no build of the pinned version can be had for this computer, and what to do; empty where one can."""
    if sys.platform != "darwin" or platform.machine() != "x86_64":
        return "", ""
    least = ".".join(map(str, LEAST_TORCH))
    sentence = _(
        "There is no PyTorch {least} or newer for this Slicer, which is made for Macs with an Intel processor."
    )
    remedy = _(
        "Use Slicer's version for Apple silicon, or a computer with Windows or Linux; or choose a Python that has "
        "PyTorch {least} or newer: Advanced › More › Use another Python…."
    )
    return sentence.format(least=least), remedy.format(least=least)


def chooseBuild(processor: str | None = None, cards: NvidiaCards | None = None) -> TorchBuild:
    """The build for this computer; `processor` and `cards` are what is asked for, else what is found."""
    if processor == APPLE or (processor != CPU and sys.platform == "darwin"):
        return TorchBuild(APPLE)
    if processor == CPU or (processor is None and not hasNvidiaDriver()):
        return _forProcessor()
    cards = cards or findNvidiaCards()
    return _forCards(cards) if cards is not None else _forCuda(CUDA_12)


def _forCards(cards: NvidiaCards) -> TorchBuild:
    if cards.capability >= CUDA_13_FROM and cards.cuda >= CUDA_13_DRIVER:
        return _forCuda(CUDA_13)
    if CUDA_12_FROM <= cards.capability < CUDA_12_BELOW and cards.cuda >= CUDA_12_DRIVER:
        return _forCuda(CUDA_12)
    if cards.capability < CUDA_12_FROM:
        return _forProcessor(_("{name} is too old for PyTorch. ").format(name=cards.names[0]))
    words = _("For {name} the driver has to be newer: install version {driver} or later, and set up again. ")
    driver = CUDA_13_DRIVER_NAME if cards.capability >= CUDA_12_BELOW else CUDA_12_DRIVER_NAME
    return _forProcessor(words.format(name=cards.names[0], driver=driver))


def installedTorch() -> InstalledTorch | None:
    """The PyTorch of Slicer's own Python, found without loading it; None where there is none."""
    try:
        found = metadata.distribution("torch")
    except metadata.PackageNotFoundError:
        return None
    return InstalledTorch(str(found.version), Path(str(found.locate_file(""))).resolve())


def _forCuda(label: str) -> TorchBuild:
    onPyPI = sys.platform == "linux" and label == CUDA_13
    return TorchBuild(NVIDIA, label, "" if onPyPI else INDEX + label)


def _forProcessor(remark: str = "") -> TorchBuild:
    """PyPI has it for Windows; for Linux it has the build for NVIDIA alone."""
    words = remark + _("It will compute on the processor.") if remark else ""
    return TorchBuild(CPU, "cpu", INDEX + "cpu" if sys.platform == "linux" else "", words)
