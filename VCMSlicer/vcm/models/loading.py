"""From packs to networks, by the family that a manifest names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcm.core.registry import Registry
from vcm.models.backbones.backbone import Backbone
from vcm.models.controls.control import Control
from vcm.models.weights import read_spread
from vcm.packs.store import Pack

if TYPE_CHECKING:
    from vcm.packs.manifest import BackboneManifest

BACKBONES: Registry[type[Backbone]] = Registry(
    "backbones",
    "family of backbones",
    {
        "latent-diffusion": "vcm.models.backbones.latent_diffusion:LatentDiffusion",
        "meddiffusion": "vcm.models.backbones.meddiffusion.backbone:MedDiffusion",
        "maisi": "vcm.models.backbones.maisi.backbone:Maisi",
    },
)

CONTROLS: Registry[type[Control]] = Registry(
    "controls",
    "kind of control",
    {
        "vcm": "vcm.models.controls.vcm_control:VcmControl",
        "controlnet": "vcm.models.controls.controlnet:ControlNet",
        "controlnet-lite": "vcm.models.controls.light_controlnet:ControlNetLite",
        "controlnet-mlp": "vcm.models.controls.light_controlnet:ControlNetMlp",
        "t2i-adapter": "vcm.models.controls.t2i_adapter:T2IAdapter",
        "mcm": "vcm.models.controls.mcm:Mcm",
        "mcm-l": "vcm.models.controls.mcm:McmLarge",
        "ldm-fine-tuned": "vcm.models.controls.concatenated_ldm:LdmFineTuned",
        "ldm-scratch": "vcm.models.controls.concatenated_ldm:LdmScratch",
        "controlnet-maisi": "vcm.models.backbones.maisi.controlnet:MaisiControl",
    },
)


def scales_whole_scans(manifest: BackboneManifest) -> bool:
    """Whether scans for this model are scaled as by `Backbone.scales_whole_scans`; CT, which has a unit, is not."""
    return manifest.intensity is None and BACKBONES[manifest.family].scales_whole_scans


def load_backbone(pack: Pack) -> Backbone:
    """The backbone of a pack, in fp32 on the CPU, ready to evaluate."""
    backbone = BACKBONES[pack.backbone.family].load(pack)
    backbone.spread = read_spread(pack)
    return backbone


def load_control(pack: Pack) -> Control:
    """The control of a pack, in fp32 on the CPU, ready to evaluate."""
    control = CONTROLS[pack.control.architecture].load(pack)
    control.spread = read_spread(pack)
    return control
