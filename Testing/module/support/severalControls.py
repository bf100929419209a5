"""A tiny model with a segmenter and three controls, as the models that ship have: masks with a skull image in any
choice, a label map, and a mask alone."""

import json
import shutil
import sys
from pathlib import Path

TESTING = Path(__file__).resolve().parents[2]
STRUCTURES = [
    "white matter", "grey matter", "deep grey matter", "lateral ventricles", "hippocampus", "amygdala",
    "extra-ventricular CSF", "brain stem", "third and fourth ventricle",
]  # fmt: skip
BRAIN = [1, 2, 3, 4, 5, 6, 8, 9]
VENTRICLES = {
    "name": "ventricles", "kind": "mask", "description": "Lateral ventricles",
    "classes": [{"value": 1, "name": "ventricles", "segmenter": [4]}],
}  # fmt: skip
ANATOMY = [
    {"name": "brain", "kind": "mask", "classes": [{"value": 1, "name": "brain", "segmenter": BRAIN}]},
    VENTRICLES,
    {"name": "skull", "kind": "image"},
]
CLASSES = [
    "white matter", "grey matter", "deep grey matter", "ventricles", "hippocampus", "amygdala",
    "extra-ventricular CSF", "brain stem",
]  # fmt: skip
SEMANTICS = [
    {
        "name": "semantics", "kind": "labels",
        "classes": [{"value": v, "name": n, "segmenter": [v]} for v, n in enumerate(CLASSES, start=1)],
    }
]  # fmt: skip
SEGMENTER = {
    "spatial_dims": 3, "in_channels": 1, "out_channels": 10, "channels": [4, 8], "strides": [2], "num_res_units": 1,
    "norm": ["instance", {"affine": True}],
}  # fmt: skip


def writeSeveralControls(tiny: Path, folder: Path) -> Path:
    """The tiny model of `tiny` with more controls, in a new packs' folder."""
    sys.path.append(str(TESTING / "engine" / "support"))
    import torch
    from monai.networks.nets import UNet
    from safetensors.torch import save_file
    from vcm.packs.manifest_reading import write_manifest

    shutil.copytree(tiny, folder)
    shutil.rmtree(folder / "tiny-both")
    home = folder / "tiny"
    manifest = json.loads((home / "manifest.json").read_text("utf-8"))
    torch.manual_seed(3)
    save_file(UNet(**SEGMENTER).state_dict(), home / "segmenter.safetensors")
    manifest["files"]["segmenter"] = {"path": "segmenter.safetensors"}
    manifest["networks"]["segmenter"] = SEGMENTER
    manifest["segmenter_classes"] = [{"value": v, "name": n} for v, n in enumerate(STRUCTURES, start=1)]
    # Large enough for a head, so that all of the typical head's structures lie within.
    manifest["grid"]["affine"] = [[-10, 0, 0, 74], [0, 8, 0, -113], [0, 0, 5, -61], [0, 0, 0, 1]]
    for attribute in manifest["attributes"]:
        if attribute["name"] == "ventricular_volume":
            attribute["structures"] = [4]
    write_manifest(home, manifest)
    for name, title, conditions in (
        ("anatomy", "VCM: brain, ventricles, skull", ANATOMY),
        ("semantics", "VCM: tissue map", SEMANTICS),
        ("ventricles", "VCM: lateral ventricles", [VENTRICLES]),
    ):
        _writeControl(folder / f"tiny-{name}", title, conditions, manifest["files"]["denoiser"]["sha256"])
    return folder


def _writeControl(home: Path, title: str, conditions: list[dict], denoiser: str) -> None:
    import tiny
    import torch
    from safetensors.torch import save_file
    from vcm.conditions.condition import ConditionSpec
    from vcm.packs.manifest_reading import write_manifest

    home.mkdir()
    torch.manual_seed(5)
    networks = {**tiny.CONTROL, "unet": {**tiny.CONTROL["unet"], "in_channels": 6 + 8 * len(conditions)}}
    channels = {spec.name: spec.channels for spec in map(ConditionSpec.from_dict, conditions)}
    save_file(tiny.randomised(tiny.build_control(networks, channels)).state_dict(), home / "control.safetensors")
    write_manifest(
        home,
        {
            "format": 1, "kind": "control", "name": home.name, "title": title, "version": "1",
            "licence": {"name": "Apache-2.0"}, "backbone": {"name": "tiny", "sha256": denoiser},
            "architecture": "vcm", "conditions": conditions, "subsets": len(conditions) > 1,
            "networks": {"variant": "paper", **networks}, "files": {"control": {"path": "control.safetensors"}},
            "trained": {"control": True},
        },
    )  # fmt: skip
