"""The networks of the last request, kept on their device for the next one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from vcm.core.hashing import hash_file
from vcm.packs.manifest import FILE_NAME
from vcm.packs.store import Pack
from vcm.runs.job import GenerateJob

if TYPE_CHECKING:
    from vcm.machine.runtime import Runtime
    from vcm.models.backbones.backbone import Backbone
    from vcm.models.controls.control import Control
    from vcm.sampling.generator import Generator

Key = tuple[str, str, str]


class WarmModels:
    """Gives Generators, and loads only what the last one did not have: another control leaves the backbone in place.

    What is warm is known by the hash of its manifest, which holds those of its weights, and by where it was put.
    """

    def __init__(self) -> None:
        self._backbone: tuple[Key, Backbone] | None = None
        self._control: tuple[Key, Control] | None = None

    def generator(
        self, backbone: Pack, control: Pack | None, job: GenerateJob, on_loading: Callable[[str], None]
    ) -> Generator:
        """A Generator for a job; `on_loading` hears the name of each pack that has to be loaded."""
        from vcm.machine.runtime import choose_runtime
        from vcm.models.loading import load_backbone, load_control
        from vcm.sampling.generator import Generator

        runtime = choose_runtime(job.device, job.precision)
        if self._backbone is None or self._backbone[0] != _key(backbone, runtime):
            self.release()
            on_loading(backbone.name)
            self._backbone = _key(backbone, runtime), load_backbone(backbone)
        if control is None:
            return Generator(self._backbone[1], None, runtime, job.memory)
        if self._control is None or self._control[0] != _key(control, runtime):
            self._control = None
            on_loading(control.name)
            self._control = _key(control, runtime), load_control(control)
        return Generator(self._backbone[1], self._control[1], runtime, job.memory)

    def release(self) -> None:
        """Let go of the networks and of the memory they took."""
        import torch

        self._backbone = self._control = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _key(pack: Pack, runtime: Runtime) -> Key:
    return hash_file(pack.folder / FILE_NAME), str(runtime.device), runtime.precision
