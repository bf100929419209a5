"""The sampling step compiled by PyTorch, for who asks for it: a minute or more at first, then kept on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

ASKED = "VCM_COMPILE"
"""The environment variable by which a user asks for it; 0 or empty is no."""

KEPT_IN = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable by which PyTorch is told where to keep what it has compiled; a user's own setting stays."""


def wants_compiling(device: torch.device) -> bool:
    """Whether the step is to be compiled: where it was asked for, on a GPU of NVIDIA's."""
    return device.type == "cuda" and os.environ.get(ASKED, "0") not in ("", "0")


def compile_step(networks: Iterable[nn.Module], backend: str | Callable[..., Any] = "inductor") -> None:
    """Have networks that predict be compiled at their first call; what cannot be compiled runs as it is."""
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("vcm-slicer", appauthor=False)) / "compiled"
    os.environ.setdefault(KEPT_IN, os.fspath(folder))
    import torch._dynamo

    torch._dynamo.config.suppress_errors = True
    for network in networks:
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        network.compile(dynamic=False, backend=backend)
