"""How a control is trained: data checked on load, saved with the run and with the pack it makes."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vcm.errors import Code, VcmError
from vcm.training.latent_cache import MASKS
from vcm.training.losses import WEIGHTINGS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRECISIONS = ("fp32", "bf16")

SMALL_NETWORK: dict[str, Any] = {
    "variant": "packed",
    "encoder": {"channels": [32], "num_res_blocks": 0, "norm_num_groups": 16, "resblock_updown": False},
    "unet": {
        "spatial_dims": 3,
        "in_channels": 80,
        "out_channels": 48,
        "channels": [48, 48],
        "num_res_blocks": [1, 1],
        "attention_levels": [False, False],
        "norm_num_groups": 16,
        "norm_eps": 1e-6,
        "num_head_channels": [0, 24],
        "resblock_updown": False,
    },
    "heads": {"hidden": 48, "norm": False},
    "shared_encoder": False,
    "condition_packing": 4,
    "latent_packing": 2,
    "latent_channels": 3,
    "condition_gain": 4.0,
    "direct": True,
}
"""A VCM of 1.9 M parameters for brainldm-mini: masks packed by 4, latents by 2, heads that start at the identity."""


@dataclass(frozen=True, kw_only=True)
class ControlTraining:
    """The settings of one training.

    `steps` fixes the learning rate's course: it rises over `warmup` steps and falls as a cosine to `final_rate` of its
    height. `focus` is how much more the error near a mask counts than elsewhere. `l1_weight` is λ of Eq. 4; None is
    the paper's 1/(b·c·h·w·d).
    """

    backbone: str = "brainldm-mini"
    conditions: tuple[str, ...] = ("ventricles",)
    steps: int = 3000
    batch: int = 8
    learning_rate: float = 1e-3
    warmup: int = 40
    final_rate: float = 0.02
    weight_decay: float = 0.01
    clip: float = 0.5
    ema: float = 0.995
    weighting: str = "v"
    focus: float = 15.0
    l1_weight: float | None = None
    precision: str = "bf16"
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("warmup", "weight_decay", "focus"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        for name in ("learning_rate", "clip"):
            _require(getattr(self, name) > 0, name, "above 0", getattr(self, name))
        _require(0 <= self.ema < 1, "ema", "0 or more and below 1", self.ema)
        _require(self.weighting in WEIGHTINGS, "weighting", f"one of {', '.join(WEIGHTINGS)}", self.weighting)
        _require(self.precision in PRECISIONS, "precision", f"one of {', '.join(PRECISIONS)}", self.precision)
        known = set(self.conditions) <= set(MASKS) and len(self.conditions) > 0
        _require(known, "conditions", f"some of {', '.join(MASKS)}", list(self.conditions))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any], source: str = "The training's settings") -> ControlTraining:
        """Read settings; a name that is none of them is refused.

        >>> ControlTraining.from_dict({"steps": 50, "conditions": ["ventricles"]}).steps
        50
        """
        known = {field.name for field in fields(cls)}
        unknown = [name for name in entry if name not in known]
        if unknown:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{source} names {', '.join(unknown)}, which is no setting.",
                f"The settings are: {', '.join(sorted(known))}.",
            )
        try:
            return cls(**{**entry, "conditions": tuple(entry.get("conditions", cls.conditions))})
        except TypeError as error:
            raise VcmError(Code.BAD_REQUEST, f"{source} has a value of the wrong kind: {error}.") from error

    @classmethod
    def read(cls, path: Path) -> ControlTraining:
        """Read settings from TOML, or from the JSON that a run keeps."""
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                return cls.from_dict(json.loads(text), str(path))
            return cls.from_dict(tomllib.loads(text), str(path))
        except FileNotFoundError:
            raise VcmError(Code.FILE_MISSING, f"There is no file {path}.") from None
        except (OSError, ValueError) as error:
            raise VcmError(Code.FILE_UNREADABLE, f"{path} cannot be read as settings: {error}.") from error

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "conditions": list(self.conditions)}


def _require(fits: bool, name: str, wanted: str, found: object) -> None:
    if not fits:
        raise VcmError(Code.BAD_REQUEST, f"The setting {name} must be {wanted}; {found} was given.")
