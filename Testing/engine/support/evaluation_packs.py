"""The tiny packs with a segmenter, a cohort for them, and the call of `vcm evaluate` that tests make."""

from __future__ import annotations

import json
from pathlib import Path

import small_cohort
import tiny
import torch
from command_line import vcm
from monai.networks.nets import UNet
from safetensors.torch import save_file
from vcm.cohort.case_conditions import CONDITION_SPECS
from vcm.packs.manifest_reading import write_manifest

SEGMENTER = {"spatial_dims": 3, "in_channels": 1, "out_channels": 5, "channels": [4, 6, 8], "strides": [2, 2]}
CLASSES = [{"value": n + 1, "name": name} for n, name in enumerate(["tissue", "fluid", "shell", "ventricles"])]
CONDITIONS = [
    {"name": "ventricles", "kind": "mask", "classes": [{"value": 1, "name": "ventricles", "segmenter": [4]}]},
    {"name": "skull", "kind": "image"},
]


def write_packs(folder: Path, *, segmenter: bool = True, subsets: bool = True) -> Path:
    """`tiny` and `tiny-both`, whose ventricles are label 4 as in a cohort; with or without a segmenter."""
    tiny.write_packs(folder)
    if segmenter:
        torch.manual_seed(3)
        save_file(UNet(**SEGMENTER).state_dict(), folder / "tiny" / "segmenter.safetensors")
        manifest = read(folder / "tiny")
        manifest["files"]["segmenter"] = {"path": "segmenter.safetensors"}
        manifest["networks"]["segmenter"] = SEGMENTER
        manifest["segmenter_classes"] = CLASSES
        manifest["trained"]["segmenter"] = True
        next(a for a in manifest["attributes"] if a["name"] == "ventricular_volume")["structures"] = [4]
        write_manifest(folder / "tiny", manifest)
    change(folder / "tiny-both", conditions=CONDITIONS, subsets=subsets)
    return folder


def change(pack: Path, **fields) -> None:
    """Write a pack's manifest again with other fields."""
    write_manifest(pack, {**read(pack), **fields})


def read(pack: Path) -> dict:
    return json.loads((pack / "manifest.json").read_text("utf-8"))


def write_cohort(folder: Path, count: int = 3) -> Path:
    small_cohort.write_cohort(folder, count)
    return folder


def evaluate(cohort: Path, out: Path, *more, pack: str = "tiny-both"):
    """`vcm evaluate` of a control with two steps."""
    return vcm("evaluate", pack, "--cases", cohort, "--steps", 2, "--device", "cpu", "--out", out, *more)


def tables(out: Path) -> dict[str, bytes]:
    """The tables of an evaluation, byte by byte."""
    return {name: (out / name).read_bytes() for name in ("cases.csv", "summary.csv", "summary.json", "summary.md")}


def write_semantics(folder: Path) -> None:
    """A control `tiny-semantics` for a map of eight classes, as the cohort's cases hold it."""
    entry = {"name": "semantics", **CONDITION_SPECS["semantics"]}
    home = folder / "tiny-semantics"
    home.mkdir()
    torch.manual_seed(5)
    networks = {**tiny.CONTROL, "unet": {**tiny.CONTROL["unet"], "in_channels": 6 + 8}}
    save_file(
        tiny.randomised(tiny.build_control(networks, {"semantics": 8})).state_dict(), home / "control.safetensors"
    )
    fields = {"name": "tiny-semantics", "conditions": [entry], "networks": {"variant": "paper", **networks}}
    write_manifest(home, {**read(folder / "tiny-both"), **fields})
