"""Parameters of each kind of control at the paper's sizes, counted on the classes that train here, beside the paper's.

Nothing is computed: the networks are made without memory, on PyTorch's `meta` device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from vcm.conditions.attributes import AttributeSpec
from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.published import core_config
from vcm.models.loading import BACKBONES, CONTROLS
from vcm.packs.manifest import BackboneManifest, LatentSpec, Licence
from vcm.packs.published_config import read_config

ONE = ({"name": "ventricles", "kind": "mask"},)
"""Table 1's condition."""

THREE = ({"name": "brain", "kind": "mask"}, *ONE, {"name": "skull", "kind": "image"})
"""Table 2's conditions."""

PROJECTION = (
    "The self-attention of the published networks holds an output projection that it does not use; here it is used."
)
TIME = "The published network holds a time embedding that nothing reads; it is left out."
UNUSED_PROJECTION = (
    "The self-attention of the published network holds an output projection that it does not use; it is left out."
)
UNKNOWN = (
    "The paper's figure is not reached by any variant that was tried: its appendix names widths, blocks and time "
    "layers, but neither where attention is nor how the encoders share the parameters."
)


@dataclass(frozen=True)
class Count:
    """One row. `parameters` are those of the class, `left_out` those of layers that the published network holds and
    does not use; `reference` is what both should add up to, `paper` the paper's own figure in millions."""

    method: str
    kind: str
    table: int | None
    parameters: int
    left_out: int
    reference: int | None
    paper: str
    note: str = ""

    @property
    def total(self) -> int:
        """What is compared with the reference."""
        return self.parameters + self.left_out

    @property
    def agrees(self) -> bool:
        """With the exact figure where there is one, else with the paper's rounded one."""
        if self.reference is not None:
            return self.total == self.reference
        return f"{self.total / 1e6:.2f}" == self.paper

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "total": self.total, "agrees": self.agrees}


def count_all() -> list[Count]:
    """Tables 1 and 2 of the paper, and the released VCM."""
    with torch.device("meta"):
        return [*_table(1), *_table(2), _released()]


def counts_in_words(counts: Sequence[Count]) -> list[str]:
    """The rows in columns, and the notes below them."""
    head = ("", "table", "parameters", "left out", "total", "reference", "paper, millions")
    rows = [
        (c.method, str(c.table or ""), f"{c.parameters:,}", f"{c.left_out:,}" if c.left_out else "", f"{c.total:,}",
         f"{c.reference:,}" if c.reference else "", f"{c.paper}{'' if c.agrees else '  differs'}")
        for c in counts
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)]
    notes: dict[str, list[str]] = {}
    for count in counts:
        if count.note:
            notes.setdefault(count.note, []).append(count.method)
    return [*lines, "", *(f"{', '.join(dict.fromkeys(methods))}: {note}" for note, methods in notes.items())]


def brainldm() -> BackboneManifest:
    """BrainLDM as it was published, as far as the sizes of networks depend on it."""
    config = read_config()
    roles = {"autoencoder": "autoencoder", "denoiser": "diffusion"}
    networks = {role: core_config(config.networks[name]) for role, name in roles.items()}
    return BackboneManifest(
        name="brainldm", title="BrainLDM", version="1", licence=Licence("Apache-2.0"), files={}, trained={},
        networks=networks, grid=config.grid,
        latent=LatentSpec((config.latent_channels, *config.latent_shape), config.scale_factor),
        schedule=config.schedule, attributes=tuple(map(AttributeSpec.from_dict, config.attributes)),
    )  # fmt: skip


def _table(table: int) -> list[Count]:
    entries = ONE if table == 1 else THREE
    first = table == 1
    manifest = brainldm()
    backbone = _size(BACKBONES[manifest.family].copy_of_denoiser(manifest.networks["denoiser"]))
    embedding = _time_embedding(manifest)

    def row(method: str, kind: str, reference: int | None, paper: str, left_out: int = 0, note: str = "") -> Count:
        return Count(method, kind, table, _size(_network(kind, entries)), left_out, reference, paper, note)

    return [
        Count("BrainLDM", "", table, backbone, 0, 553_168_899, "553.17"),
        row("LDM (from scratch)", "ldm-scratch", 475_416_323 if first else 475_430_147, "475.42" if first else "475.43",
            note=PROJECTION),
        row("LDM (fine-tuning)", "ldm-fine-tuned", 553_175_811 if first else 553_189_635,
            "553.18" if first else "553.19"),
        row("MCM", "mcm", 11_451_814 if first else None, "11.45", note=PROJECTION),
        row("MCM-L", "mcm-l", 44_917_126 if first else None, "44.92", note=PROJECTION),
        row("T2I-Adapter", "t2i-adapter", 223_410_688 if first else 447_263_744, "223.41" if first else "447.26"),
        row("ControlNet", "controlnet", 193_879_392 if first else 193_881_120, "193.88", note=PROJECTION),
        row("ControlNet-LITE", "controlnet-lite", 63_556_704 if first else None, "63.56", embedding, TIME),
        row("ControlNet-MLP", "controlnet-mlp", 9_030_752 if first else None, "9.03", embedding, TIME),
        row("VCM", "vcm", None, "45.19" if first else "45.88", _projections(entries, "paper"), UNKNOWN),
    ]  # fmt: skip


def _released() -> Count:
    classes = [{"value": value, "name": f"class {value}"} for value in range(1, 9)]
    entries = ({"name": "semantics", "kind": "labels", "classes": classes},)
    size = _size(_network("vcm", entries, "released"))
    left_out = _projections(entries, "released")
    return Count("VCM as released", "vcm", None, size, left_out, 45_220_134, "", UNUSED_PROJECTION)


def _network(
    kind: str, entries: tuple[Mapping[str, Any], ...], variant: str = "paper", change: Callable[[Any], Any] = dict
) -> nn.Module:
    specs = tuple(ConditionSpec.from_dict(entry) for entry in entries)
    networks = CONTROLS[kind].configure(brainldm(), specs, variant, {})
    return CONTROLS[kind].create(change(networks), specs).network


def _projections(entries: tuple[Mapping[str, Any], ...], variant: str) -> int:
    """The output projections that the published VCM's self-attention does not use."""

    def with_projection(networks: dict[str, Any]) -> dict[str, Any]:
        return {**networks, "unet": {**networks["unet"], "include_fc": True}}

    return _size(_network("vcm", entries, variant, with_projection)) - _size(_network("vcm", entries, variant))


def _time_embedding(manifest: BackboneManifest) -> int:
    """Two linear layers from the U-Net's first width to four times as many."""
    width = int(manifest.networks["denoiser"]["channels"][0])
    return _size(nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width)))


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
