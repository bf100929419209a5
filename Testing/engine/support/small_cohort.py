"""A cohort for the tiny backbone, and a control small enough to train in milliseconds."""

import json
from pathlib import Path

import numpy as np
import tiny
import torch
from monai.networks.nets import UNet
from safetensors.torch import save_file
from tiny import GRID
from vcm.cohort.files import CaseEntry, read_cases, write_table
from vcm.cohort.learning_cases import CohortCase, condition_specs
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.controls.vcm_control import VcmControl
from vcm.packs.manifest_reading import write_manifest
from vcm.training.data.latent_cache import LatentCache, cache_cases
from vcm.training.trainer.team import Team
from vcm.volumes.volume_files import write_volume

SEGMENTER = {"spatial_dims": 3, "in_channels": 1, "out_channels": 8, "channels": [4, 6, 8], "strides": [2, 2]}
NAMES = ["white matter", "grey matter", "deep grey matter", "lateral ventricles", "hippocampus", "amygdala", "CSF"]
NETWORK = {
    "variant": "patches", "places": [4, 6, 8], "width": 16, "features": 8, "hidden": 8,
    "unet": {
        "spatial_dims": 3, "out_channels": 8, "channels": [8], "num_res_blocks": 1, "attention_levels": [False],
        "norm_num_groups": 4, "num_head_channels": 4,
    },
    "schedule": {}, "latent_channels": 3, "latent_packing": 1, "condition_packing": 4,
}  # fmt: skip


def write_cohort(folder: Path, count: int = 3, grid: Grid = GRID) -> list[CaseEntry]:
    """Cases of noise with a block of ventricles (4) in CSF (7) and white matter (1), off every middle."""
    entries = {}
    for number in range(count):
        rng = np.random.default_rng(number)
        labels = np.zeros(grid.shape, np.uint8)
        labels[2:13, 3:20, 4:29] = 7
        labels[3:12, 4:18, 6:27] = 1
        labels[5 : 7 + number, 6:11, 9:17] = 4
        image = (labels == 1) * 0.7 + (labels == 4) * 0.2 + 0.1 * rng.random(grid.shape)
        entry = CaseEntry(
            folder=folder / "cases" / f"{number:05d}",
            head=f"head_{number + 1:02d}",
            seed=5,
            attributes={"sex": number % 2, "age": 0.3, "ventricular_volume": 0.1 * number, "brain_volume": 0.5},
            ventricles_ml=float((labels == 4).sum() * grid.voxel_ml),
            brain_ml=1000.0,
        )
        for part, array in (("image", image.astype(np.float32)), ("labels", labels), ("skull", image * (labels == 0))):
            write_volume(entry.folder / f"{part}.nii.gz", Volume(array, grid))
        entries[entry.name] = entry
    write_table(entries, folder)
    return read_cases(folder)


def write_latents(
    backbone, cases, folder: Path, names=("ventricles",), fingerprint: str = "a" * 64, ways=None, device="cpu"
) -> LatentCache:
    """The cache of a cohort."""
    specs = condition_specs(names)
    learned = [CohortCase(case, backbone.grid) for case in cases]
    usable = cache_cases(backbone, fingerprint, learned, specs, folder, Team("cpu"), print, ways or {})
    return LatentCache(folder, usable, fingerprint, specs, backbone, ways or {}, device)


def new_network(seed: int = 0, **options):
    torch.manual_seed(seed)
    return tiny.build_control({**NETWORK, **options}, {"ventricles": 1})


def control_around(network, names=("ventricles",), scale_factor=None):
    """A control with this network."""
    return VcmControl(network, condition_specs(names), scale_factor)


def write_workshop(folder: Path) -> None:
    """Packs with a segmenter in `packs`, and a cohort of eight heads in `cohort`: enough to teach with."""
    tiny.write_packs(folder / "packs")
    home = folder / "packs" / "tiny"
    torch.manual_seed(3)
    save_file(UNet(**SEGMENTER).state_dict(), home / "segmenter.safetensors")
    manifest = json.loads((home / "manifest.json").read_text())
    manifest["files"]["segmenter"] = {"path": "segmenter.safetensors"}
    manifest["networks"]["segmenter"] = SEGMENTER
    manifest["segmenter_classes"] = [{"value": n, "name": name} for n, name in enumerate(NAMES, 1)]
    manifest["trained"]["segmenter"] = True
    write_manifest(home, manifest)
    write_cohort(folder / "cohort", 8)
