"""Which packs a run uses: the one named, or the only one that fits."""

from __future__ import annotations

from collections.abc import Iterable

from vcm.core.errors import Code, VcmError
from vcm.core.typed_json import did_you_mean
from vcm.packs.store import Pack, controls_for, default_backbone, find_pack


def choose_packs(pack: str | None, control: str | None, conditions: Iterable[str]) -> tuple[Pack, Pack | None]:
    """The backbone and the control for a set of condition names.

    Without `pack` it is the embedded default; without `control` the one trained for that backbone that takes all of
    `conditions` and the fewest besides. A control may go by its name or by its name without the backbone's.
    """
    names = list(dict.fromkeys(conditions))
    backbone = find_pack(pack or default_backbone())
    backbone.backbone  # noqa: B018 - refuses a control that was named as the backbone, in a sentence
    if control is not None:
        return backbone, _named(control, backbone, names)
    if not names:
        return backbone, None
    available = controls_for(backbone)
    able = [c for c in available if set(names) <= {spec.name for spec in c.control.conditions}]
    able = [c for c in able if c.control.subsets or len(c.control.conditions) == len(names)]
    if not able:
        have = "; ".join(f"{c.name} takes {_listed(s.name for s in c.control.conditions)}" for c in available)
        raise VcmError(
            Code.CONDITION,
            f"No control of {backbone.name} takes {_listed(names)}: {have or 'it has no control at all'}.",
            "Name the conditions as the control does; vcm packs list shows the controls.",
        )
    return backbone, min(able, key=lambda c: (len(c.control.conditions), bool(c.manifest.untrained), c.name))


def on_grid(backbone: Pack, control: Pack | None, size: str | None, spacing: str | None) -> Pack:
    """The backbone on the grid that is asked for; refused where the control's network is bound to its own one."""
    resized = backbone.resized(size, spacing)
    bound = control is not None and {"places", "latent_shape"} & control.control.networks.keys()
    if control and bound and resized.backbone.grid.shape != backbone.backbone.grid.shape:
        raise VcmError(
            Code.BAD_REQUEST,
            f"The control {control.name} was made for images of one size, that of {backbone.name}'s own grid.",
            "Leave --size out, or train one that takes any size: vcm of the variant paper.",
        )
    return resized


def _named(control: str, backbone: Pack, names: list[str]) -> Pack:
    short = {c.name.removeprefix(f"{backbone.name}-"): c for c in controls_for(backbone)}
    chosen = short.get(control) or find_pack(control)
    manifest = chosen.control
    if not backbone.backbone.steered_by(manifest):
        raise VcmError(
            Code.PACK_INVALID,
            f"The control {chosen.name} was trained for the backbone {manifest.backbone.name}, not for "
            f"{backbone.name}.",
            f"Use --pack {manifest.backbone.name}, or a control made for {backbone.name}.",
        )
    takes = [spec.name for spec in manifest.conditions]
    unknown = [name for name in names if name not in takes]
    missing = [name for name in takes if name not in names]
    if unknown:
        sentence = f"The control {chosen.name} takes {_listed(takes)}, but not {_listed(unknown)}"
        raise VcmError(Code.CONDITION, f"{sentence}{did_you_mean(unknown[0], takes)}.")
    if missing and names and not manifest.subsets:
        raise VcmError(
            Code.CONDITION,
            f"The control {chosen.name} needs all of its conditions; {_listed(missing)} is missing.",
            "Give each with --condition NAME=FILE.",
        )
    return chosen


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "no condition"
