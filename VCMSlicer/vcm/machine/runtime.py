"""Where the networks run, in which number format, said in words."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from vcm.core.errors import Code, VcmError
from vcm.core.reading import read_text

CONTROL_GROUP = Path("/sys/fs/cgroup")
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "mixed": torch.bfloat16}
"""`mixed` is bf16 for the steps of the sampling and fp32 for what is done once; on a processor only."""


@dataclass(frozen=True)
class Runtime:
    """A device and a number format, with a sentence for the user."""

    device: torch.device
    precision: str
    words: str

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights: the chosen one, but fp32 on a processor (see `autocast`)."""
        return torch.float32 if self.device.type == "cpu" else PRECISIONS[self.precision]

    def autocast(self) -> AbstractContextManager[object]:
        """What to compute in: on a processor, bf16 is a matter of each operation, as some exist in fp32 only."""
        return self._in_bf16(self.precision == "bf16")

    def autocast_steps(self) -> AbstractContextManager[object]:
        """What to compute the steps of the sampling in."""
        return self._in_bf16(self.precision in ("bf16", "mixed"))

    def _in_bf16(self, wanted: bool) -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if wanted and self.device.type == "cpu" else nullcontext()

    @property
    def has_graphs(self) -> bool:
        """Whether the sampling step can be captured as a CUDA graph."""
        return self.device.type == "cuda"

    def synchronise(self) -> None:
        """Wait for the device, so that a clock read afterwards is right."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def choose_runtime(device: str = "auto", precision: str = "auto", *, mixed: bool = False) -> Runtime:
    """The device asked for, or the best there is; the number format asked for, or the device's usual one.

    `auto` is CUDA, then MPS, then the CPU; fp16 weights on a GPU, fp32 on the CPU, or `mixed` where the model allows it
    and the processor computes in bf16. A device that is not there is an error, never a silent change to another.
    """
    chosen = choose_device(device)
    if precision == "auto":
        usual = "mixed" if mixed and has_bf16(chosen) else "fp32"
        precision = usual if chosen.type == "cpu" else "fp16"
    if precision not in PRECISIONS:
        raise VcmError(Code.BAD_REQUEST, f"The precision must be auto, {', '.join(PRECISIONS)}; not {precision!r}.")
    if chosen.type == "cpu" and precision == "fp16":
        raise VcmError(
            Code.DEVICE,
            "Half precision (fp16) is not supported on a processor.",
            "Use --precision fp32, or bf16 on a recent processor.",
        )
    if chosen.type != "cpu" and precision == "mixed":
        raise VcmError(
            Code.DEVICE, "Mixed precision is for processors.", "Use --precision fp16, bf16 or fp32 on a GPU."
        )
    in_software = PRECISIONS[precision] is torch.bfloat16 and not has_bf16(chosen)
    slow = ", which this processor computes in software, slowly" if in_software else ""
    return Runtime(chosen, precision, f"{_describe(chosen)}, {format_words(precision)}{slow}")


def choose_device(name: str) -> torch.device:
    """The device asked for, or with `auto` the best there is; none is touched yet."""
    name = name.lower()
    if name in ("auto", "gpu"):
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        if name == "gpu":
            raise VcmError(Code.DEVICE, "No GPU that PyTorch can use was found.", "Use --device cpu or auto.")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise VcmError(Code.BAD_REQUEST, f"The device must be auto, cpu, cuda, cuda:N or mps; not {name!r}.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise VcmError(
            Code.DEVICE,
            f"The device {name} was asked for, but PyTorch {torch.__version__} finds no NVIDIA GPU.",
            "Check the driver with nvidia-smi and that PyTorch was installed with CUDA, or use --device cpu.",
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise VcmError(
            Code.DEVICE,
            f"There is no GPU {device.index}: this machine has {torch.cuda.device_count()}, counted from 0.",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise VcmError(Code.DEVICE, "Apple's GPU (mps) is not available here.", "Use --device cpu.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise VcmError(Code.BAD_REQUEST, f"The device must be auto, cpu, cuda, cuda:N or mps; not {name!r}.")
    return device


def format_words(precision: str) -> str:
    """A number format as a user reads it."""
    return "bf16 in its steps" if precision == "mixed" else precision


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than fp32: on graphics cards, and on processors with AVX-512, AMX or ARM's BF16.

    On others it is computed in software, and a convolution takes 10 to 150 times as long.
    """
    if device.type != "cpu":
        return True
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast_bf16(device: torch.device, precision: str = "auto") -> torch.autocast:
    """bf16 for each operation that gains by it: if it was asked for or, with `auto`, if the device is fast at it."""
    enabled = precision == "bf16" or (precision == "auto" and has_bf16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on the device; for MPS and the CPU, of the main memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    limit = _container_limit()
    return min(free, limit) if limit is not None else free


def fix_results(device: torch.device) -> None:
    """Make the same seed give the same volume on the same device, bit for bit."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def _describe(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{torch.cuda.get_device_name(device)} ({free / 1e9:.1f} of {total / 1e9:.1f} GB free)"
    if device.type == "mps":
        return "Apple GPU"
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def _container_limit(group: Path = CONTROL_GROUP) -> int | None:
    """What a control group still allows this process, where one sets a limit; its file cache gives way if needed."""
    try:
        limit, used = (int(read_text(group / name)) for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in read_text(group / "memory.stat").splitlines())
        return max(0, limit - used + int(counts["inactive_file"]))
    except (VcmError, ValueError, KeyError):
        return None
