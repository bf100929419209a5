"""What stands between the user and an image, in green, amber and red, before Generate is pressed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from slicer.i18n import tr as _
from vcm.protocol import Device, Machine

from VCMSlicerLib.install.installPlan import freeDisk
from VCMSlicerLib.install.nvidiaCards import hasNvidiaDriver
from VCMSlicerLib.models.packInfo import READY, PackInfo

GIGABYTE = 1e9
# Main parts of what a run needs: weights and PyTorch itself, and the decoder's activations a voxel of the model's grid
# when it works in slabs and when in one go (see vcm.memory_plan; 160×224×160 voxels took 8.6 GB in one go).
BASE_BYTES = 1.2e9
SLAB_BYTES_A_VOXEL, WHOLE_BYTES_A_VOXEL = 700, 1500
ENOUGH_DISK, LITTLE_DISK = 5e9, 0.5e9


class Level(Enum):
    """`GREEN` is ready, `AMBER` will do with what its words say, `RED` has to be mended first."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@dataclass(frozen=True)
class PreflightItem:
    """One light: `name` says what for, `words` the state and the remedy."""

    name: str
    level: Level
    words: str


def worst(items: list[PreflightItem]) -> Level:
    """The colour of all of them together."""
    order = list(Level)
    return max((item.level for item in items), key=order.index, default=Level.GREEN)


def deviceItem(machine: Machine | None, device: str = "auto", deviceProblem: str = "") -> PreflightItem:
    """Where it will be computed. That a user chose the processor themselves is nothing to warn them of.

    `deviceProblem` is why the graphics card did not compute when the packages were checked.
    """
    level, words = _deviceWords(machine, device)
    chosen = chosenDevice(machine, device) if machine is not None else None
    if deviceProblem and device != "cpu" and (chosen is None or chosen.name == "cpu"):
        level, words = Level.AMBER, " ".join([deviceProblem, _("The processor will do it, slower.")])
    return PreflightItem(_("Processor"), level, words)


def _deviceWords(machine: Machine | None, device: str) -> tuple[Level, str]:
    if machine is None:
        return _likelyDevice(device)
    chosen = chosenDevice(machine, device)
    if chosen is None:
        return Level.RED, _("The device {device} is not there. Choose another.").format(device=device)
    if chosen.name != "cpu" or device == "cpu":
        return Level.GREEN, chosen.words
    if hasNvidiaDriver():
        words = _("There is a graphics card, but the environment cannot use it. Set the environment up again for it.")
        return Level.AMBER, words
    return Level.AMBER, _("{words}: slower than a graphics card.").format(words=chosen.words)


def _likelyDevice(device: str) -> tuple[Level, str]:
    """What is known before the worker was asked."""
    if device == "cpu":
        return Level.GREEN, _("The processor does it, as you chose.")
    if hasNvidiaDriver():
        return Level.GREEN, _("A graphics card by NVIDIA is there.")
    return Level.AMBER, _("No graphics card by NVIDIA was found: the processor will do it, slower.")


def memoryItem(machine: Machine, pack: PackInfo | None, device: str = "auto") -> PreflightItem:
    """Whether the memory will do for a model."""
    name = _("Memory")
    chosen = chosenDevice(machine, device)
    free = machine.free_memory_bytes if chosen is None or chosen.free_bytes is None else chosen.free_bytes
    if pack is None or pack.grid is None:
        return PreflightItem(name, Level.GREEN, _("{free:.1f} GB free.").format(free=free / GIGABYTE))
    voxels = math.prod(pack.grid.shape)
    least = BASE_BYTES + pack.sizeBytes + SLAB_BYTES_A_VOXEL * voxels
    easy = BASE_BYTES + pack.sizeBytes + WHOLE_BYTES_A_VOXEL * voxels
    values = {"free": free / GIGABYTE, "least": least / GIGABYTE}
    if free >= easy:
        return PreflightItem(name, Level.GREEN, _("{free:.1f} GB free, enough for this model.").format(**values))
    if free >= least:
        words = _("{free:.1f} GB free: enough, with the image decoded in parts.").format(**values)
        return PreflightItem(name, Level.AMBER, words)
    words = _("{free:.1f} GB free, about {least:.1f} GB are needed. Close other programs or choose a smaller model.")
    return PreflightItem(name, Level.RED, words.format(**values))


def diskItem(folder: Path, machine: Machine | None = None) -> PreflightItem:
    """Whether the images will fit."""
    free = machine.free_disk_bytes if machine and machine.free_disk_bytes is not None else freeDisk(folder)
    words = _("{free:.1f} GB free.").format(free=free / GIGABYTE)
    if free >= ENOUGH_DISK:
        return PreflightItem(_("Disk"), Level.GREEN, words)
    level = Level.AMBER if free >= LITTLE_DISK else Level.RED
    return PreflightItem(_("Disk"), level, " ".join([words, _("Make room.")]))


def modelItem(pack: PackInfo | None) -> PreflightItem:
    """Whether the chosen model is here."""
    name = _("Model")
    if pack is None:
        return PreflightItem(name, Level.RED, _("No model is chosen."))
    return PreflightItem(name, Level.GREEN if pack.state == READY else Level.RED, f"{pack.title}: {pack.words}")


def versionsItem(versions: Mapping[str, str]) -> PreflightItem:
    """What the worker found."""
    missing = [name for name, version in versions.items() if version == "not found"]
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if name in ("python", "torch", "monai"))
    if missing:
        words = _("Missing: {names}. Set the environment up again.").format(names=", ".join(missing))
        return PreflightItem(_("Versions"), Level.RED, words)
    return PreflightItem(_("Versions"), Level.GREEN, known or _("Not known yet."))


def chosenDevice(machine: Machine, device: str) -> Device | None:
    """The device of that name; the first is what `auto` takes."""
    if device == "auto":
        return machine.devices[0] if machine.devices else None
    return next((entry for entry in machine.devices if device in (entry.name, entry.name.split(":")[0])), None)
