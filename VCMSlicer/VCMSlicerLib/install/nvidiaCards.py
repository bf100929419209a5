"""NVIDIA's graphics cards and their driver, asked of the driver's own library: PyTorch need not be there for it."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

NVML = {"win32": "nvml.dll", "linux": "libnvidia-ml.so.1"}
NAME_BYTES = 96


@dataclass(frozen=True)
class NvidiaCards:
    """`names` of the cards; the `capability` of the one that can do most, such as (12, 0) for the RTX 50 series; and
    the newest version of `cuda` that the driver runs."""

    names: tuple[str, ...]
    capability: tuple[int, int]
    cuda: tuple[int, int]


def hasNvidiaDriver() -> bool:
    """Whether a driver for NVIDIA's graphics cards is there."""
    if sys.platform == "win32":
        return (_system32() / "nvcuda.dll").exists()
    cards = Path("/proc/driver/nvidia/gpus")
    return cards.is_dir() and any(cards.iterdir())


def findNvidiaCards(library: str | None = None) -> NvidiaCards | None:
    """What is there, or None where there is nothing or the driver does not say; `library` is for tests.

    The driver answers within some milliseconds; nothing is started and no memory of a card is taken.
    """
    path = library or NVML.get(sys.platform)
    if path is None:
        return None
    try:
        driver = ctypes.CDLL(str(_system32() / path) if sys.platform == "win32" and library is None else path)
        return _ask(driver) if driver.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _ask(driver: ctypes.CDLL) -> NvidiaCards | None:
    try:
        version, count = ctypes.c_int(), ctypes.c_uint()
        if driver.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(version)) != 0:
            return None
        if driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return None
        found = [card for card in (_card(driver, index) for index in range(count.value)) if card is not None]
    finally:
        driver.nvmlShutdown()
    if not found:
        return None
    names, capabilities = zip(*found, strict=True)
    return NvidiaCards(names, max(capabilities), (version.value // 1000, version.value % 1000 // 10))


def _card(driver: ctypes.CDLL, index: int) -> tuple[str, tuple[int, int]] | None:
    handle, major, minor = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(NAME_BYTES)
    good = (
        driver.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0
        and driver.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor)) == 0
        and driver.nvmlDeviceGetName(handle, name, ctypes.c_uint(NAME_BYTES)) == 0
    )
    return (name.value.decode("utf-8", "replace"), (major.value, minor.value)) if good else None


def _system32() -> Path:
    return Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
