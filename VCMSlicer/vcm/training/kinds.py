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
from vcm.training.trainer.trainer import SETTINGS

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


def settings_of(run: Path) -> TrainingSettings:
    """The settings that a run keeps in its folder, of whatever kind it is."""
    path = run / SETTINGS
    if not path.is_file():
        sentence = f"{run} is not the folder of a training: it has no {SETTINGS}."
        raise VcmError(Code.FILE_MISSING, sentence, "Give the folder that vcm train was given as --out.")
    entries = read_entries(path)
    kind = entries.get("kind")
    if kind not in SETTINGS_OF:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} does not say which of {', '.join(SETTINGS_OF)} was trained.")
    return SETTINGS_OF[kind].from_dict(entries, str(path))
