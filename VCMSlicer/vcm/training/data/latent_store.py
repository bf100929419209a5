"""Where a cohort's latents lie, and for which backbone they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from vcm.cohort.learning_cases import LearningCase
from vcm.conditions.condition import ConditionSpec
from vcm.models.backbones.backbone import Backbone
from vcm.packs.store import Pack
from vcm.training.data.latent_cache import LatentCache, cache_cases
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners

LATENTS = "latents"


def latent_fingerprint(pack: Pack, *, whitened: bool = True) -> str:
    """Everything that a latent of this pack depends on, in one word; not `whitened`, before its whitening."""
    files, latent = pack.backbone.files, pack.backbone.latent
    roles = ("autoencoder", "whitening") if whitened else ("autoencoder",)
    parts = [files[role].sha256 for role in roles if role in files]
    if (intensities := pack.backbone.networks["autoencoder"].get("intensity_scale", 1.0)) != 1.0:
        parts.append(repr(intensities))
    if pack.backbone.networks["autoencoder"].get("folded"):
        parts.append("folded")
    return hashlib.sha256(" ".join([*parts, repr(latent.scale_factor)]).encode()).hexdigest()


def open_latents(
    pack: Pack,
    backbone: Backbone,
    cases: Sequence[LearningCase],
    specs: Sequence[ConditionSpec],
    folder: Path,
    team: Team,
    listeners: Listeners,
    ways: Mapping[str, str] = MappingProxyType({}),
) -> LatentCache:
    """The cases' latents and conditions, where the team computes; those that `folder` lacks are made.

    Each autoencoder has a part of it, whatever whitening a denoiser learned with. Image conditions (`ways`) may be
    completed with the backbone's mean head before they are encoded, and so depend on the whitening too.
    """
    fingerprint = latent_fingerprint(pack, whitened=False)
    if ways and "whitening" in pack.backbone.files:
        whitening = pack.backbone.files["whitening"].sha256
        fingerprint = hashlib.sha256(f"{fingerprint} images {whitening}".encode()).hexdigest()
    place = folder / fingerprint[:12]
    usable = cache_cases(backbone, fingerprint, cases, specs, place, team, listeners.say, ways)
    return LatentCache(place, usable, fingerprint, specs, backbone, ways, team.device)
