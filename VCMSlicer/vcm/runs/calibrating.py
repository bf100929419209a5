"""Settings of a pack that nobody has published, found on a user's own scans."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vcm.conditions.condition import ConditionSpec, Kind
from vcm.conditions.doctor import examine
from vcm.core.errors import Code, VcmError
from vcm.core.findings import raise_first_error
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.outputs.atomic_files import atomic_path
from vcm.packs.installation import PACK_FILES, check_name, install_folder
from vcm.packs.manifest import FILE_NAME
from vcm.packs.manifest_reading import write_manifest
from vcm.packs.schema import read_document
from vcm.packs.store import Pack, find_pack
from vcm.volumes.volume_files import read_volume

if TYPE_CHECKING:
    from vcm.models.backbones.backbone import Calibration


def calibrate_pack(
    name: str, scans: Sequence[Path], device: str = "auto", on_step: Callable[[str], None] = lambda step: None
) -> Calibration:
    """Find the pack's calibrated setting on scans, and put it into the pack.

    Scans are laid into the middle of the pack's field of view and scaled to 0–1 as every image is.
    """
    import torch

    from vcm.machine.runtime import choose_runtime
    from vcm.models.loading import load_backbone

    pack = find_pack(name)
    check_name(pack.name, force=True)
    if not scans:
        raise VcmError(Code.BAD_REQUEST, "A calibration needs scans.", f"vcm packs calibrate {pack.name} SCAN …")
    images = [torch.from_numpy(_as_seen(path, pack.backbone.grid))[None, None] for path in scans]
    on_step("loading the model")
    backbone, runtime = load_backbone(pack), choose_runtime(device)
    backbone.place(runtime.device, runtime.dtype)
    found = backbone.calibrate([image.to(runtime.device) for image in images], on_step)
    on_step("writing the pack")
    _write(pack, found, len(scans))
    return found


def _as_seen(path: Path, grid: Grid) -> np.ndarray:
    """A scan in 0–1 on the grid, its middle in the grid's."""
    scan = read_volume(path)
    affine = scan.grid.affine.copy()
    affine[:3, 3] += grid.centre - scan.grid.centre
    moved = Volume(scan.array, Grid(scan.grid.shape, affine))
    examination = examine(ConditionSpec(path.name, Kind.IMAGE), moved, grid, source=path.name)
    raise_first_error(examination.findings)
    assert examination.condition is not None
    seen: np.ndarray = examination.condition.volume.array
    return seen


def _write(pack: Pack, found: Calibration, count: int) -> None:
    """The same pack with other options of a network; its files are the same, so its controls go on with it."""
    content = read_document(pack.folder / FILE_NAME)
    content["networks"][found.network] = {**content["networks"][found.network], found.setting: found.best}
    content["description"] = f"{content.get('description', '')} Calibrated on {count} scan(s): {found.words}.".strip()
    with install_folder(pack.name, force=True) as folder:
        # A signature would no longer be one of it; records of its training go on being true.
        beside = {path.name for path in pack.folder.iterdir() if PACK_FILES.fullmatch(path.name)} - {FILE_NAME}
        paths = {file.path for file in pack.manifest.files.values()} | beside
        for path in paths | ({pack.manifest.card} if pack.manifest.card else set()):
            with atomic_path(folder / path) as half:
                shutil.copyfile(pack.folder / path, half)
        write_manifest(folder, content)
