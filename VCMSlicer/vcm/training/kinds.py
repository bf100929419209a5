"""The kinds of training there are, and their settings."""

from __future__ import annotations

from pathlib import Path

from vcm.core.errors import Code, VcmError
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.backbone.denoiser_settings import DenoiserSettings
from vcm.training.backbone.segmenter_settings import SegmenterSettings
from vcm.training.control.settings import ControlSettings
from vcm.training.layout.settings import LabelAutoencoderSettings, LayoutSettings
from vcm.training.trainer.settings import TrainingSettings, read_entries

SETTINGS_OF: dict[str, type[TrainingSettings]] = {
    cls.kind: cls
    for cls in (
        AutoencoderSettings,
        DenoiserSettings,
        ControlSettings,
        SegmenterSettings,
        LabelAutoencoderSettings,
        LayoutSettings,
    )
}


def read_settings(path: Path) -> TrainingSettings:
    """The settings that a run keeps, of whatever kind it is."""
    entries = read_entries(path)
    kind = entries.get("kind")
    if kind not in SETTINGS_OF:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} does not say which of {', '.join(SETTINGS_OF)} was trained.")
    return SETTINGS_OF[kind].from_dict(entries, str(path))
