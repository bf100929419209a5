"""The networks of the last request, its layout and its segmenter, kept on their device for the next one."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TYPE_CHECKING

from vcm.core.hashing import hash_file
from vcm.packs.manifest import FILE_NAME, BackboneManifest
from vcm.packs.store import Pack
from vcm.runs.job import GenerateJob

if TYPE_CHECKING:
    import torch

    from vcm.judging.segmentation import Choice
    from vcm.machine.runtime import Runtime
    from vcm.models.backbones.backbone import Backbone
    from vcm.models.controls.control import Control
    from vcm.models.layout.layout import Layout
    from vcm.sampling.generator import Generator

Key = tuple[str, str, str, str]


class WarmModels:
    """Gives Generators, and loads only what the last one did not have: another control leaves the backbone in place.

    What is warm is known by the hash of its manifest, which holds those of its weights, by its grid, and by where it
    was put.
    """

    def __init__(self) -> None:
        self._backbone: tuple[Key, Backbone] | None = None
        self._control: tuple[Key, Control] | None = None
        self._generator: tuple[tuple[Key, Key | None, str], Generator] | None = None
        self._judge: tuple[tuple[str, str, str], Choice] | None = None
        self._layout: tuple[tuple[str, str], Layout] | None = None

    def generator(
        self, backbone: Pack, control: Pack | None, job: GenerateJob, on_loading: Callable[[str], None]
    ) -> Generator:
        """A Generator for a job, the one of before where nothing has changed; `on_loading` hears the name of each pack
        that has to be loaded."""
        from vcm.models.loading import load_backbone, load_control
        from vcm.runs.run import runtime_for
        from vcm.sampling.generator import Generator

        runtime = runtime_for(backbone, job.device, job.precision)
        key = _key(backbone, runtime)
        wanted = key, _key(control, runtime) if control else None, job.memory
        if self._generator is not None and self._generator[0] == wanted:
            return self._generator[1]
        self._generator = None
        if self._backbone is None or self._backbone[0] != key:
            self.release()
            on_loading(backbone.name)
            self._backbone = key, load_backbone(backbone)
        steering = None
        if control is not None:
            if self._control is None or self._control[0] != wanted[1]:
                self._control = None
                on_loading(control.name)
                self._control = _key(control, runtime), load_control(control)
            steering = self._control[1]
        self._generator = wanted, Generator(self._backbone[1], steering, runtime, job.memory)
        return self._generator[1]

    def judge(self, backbone: Pack, preference: str, device: torch.device) -> Choice:
        """Who measures the Samples of a backbone; FreeSurfer's is looked for anew at each call."""
        from vcm.judging.segmentation import PackSegmenter, choose_segmenter

        wanted = hash_file(backbone.folder / FILE_NAME), preference, str(device)
        if self._judge is None or self._judge[0] != wanted:
            self._judge = None
            choice = choose_segmenter(backbone, preference, device=device)
            if not isinstance(choice.segmenter, PackSegmenter):
                return choice
            self._judge = wanted, choice
        return self._judge[1]

    def layout(self, pack: Pack, device: torch.device) -> Layout:
        """The networks of a layout pack."""
        from vcm.runs.completing import load_layout

        wanted = hash_file(pack.folder / FILE_NAME), str(device)
        if self._layout is None or self._layout[0] != wanted:
            self._layout = None
            self._layout = wanted, load_layout(pack, device)
        return self._layout[1]

    def release(self) -> None:
        """Let go of the networks and of the memory they took."""
        import torch

        self._backbone = self._control = self._generator = self._judge = self._layout = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _key(pack: Pack, runtime: Runtime) -> Key:
    grid = str(pack.manifest.grid.as_dict()) if isinstance(pack.manifest, BackboneManifest) else ""
    return hash_file(pack.folder / FILE_NAME), grid, str(runtime.device), runtime.precision
