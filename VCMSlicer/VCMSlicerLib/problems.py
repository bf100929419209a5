"""From a failure's code to what the panel offers: one button that does something about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from slicer.i18n import tr as _
from vcm.core.errors import Code

from VCMSlicerLib.engine import jobState


class Remedy(Enum):
    """What a remedy button does."""

    RETRY = "retry"
    RETRY_ON_CPU = "retry on CPU"
    LIGHTER = "lighter"
    CHOOSE_MODEL = "choose model"
    CHOOSE_PYTHON = "choose Python"
    SET_UP = "set up"
    SHOW_CONDITIONS = "show conditions"
    SHOW_SUBJECT = "show subject"
    LOAD_KEPT = "load kept"
    REGISTER = "register"
    SHOW_LOG = "show log"


@dataclass(frozen=True)
class Problem:
    """What went wrong, for people: a sentence, what they may try, and the button that does it."""

    sentence: str
    advice: str
    remedy: Remedy


def problem(failure: Any) -> Problem:
    """What the panel shows of a `jobs.Failure`."""
    return Problem(failure.sentence, failure.remedy or "", remedyOf(failure.code))


def remedyOf(code: Code | str) -> Remedy:
    """The remedy that fits a code; the log where nothing better is known."""
    return _REMEDIES.get(str(getattr(code, "value", code)), Remedy.SHOW_LOG)


def button(remedy: Remedy) -> tuple[str, str]:
    """What stands on the button, and what it will do, in a sentence."""
    return {
        Remedy.RETRY: (_("Try again"), _("Start computing anew and ask for the same once more.")),
        Remedy.RETRY_ON_CPU: (
            _("Retry on CPU"),
            _("Ask for the same once more, computed by the processor: slower, but it needs no graphics card."),
        ),
        Remedy.LIGHTER: (_("Retry as preview"), _("Ask for the same once more in preview quality.")),
        Remedy.CHOOSE_MODEL: (
            _("Choose model file…"),
            _("Choose the folder of a model pack (the one that holds manifest.json)."),
        ),
        Remedy.CHOOSE_PYTHON: (_("Choose Python…"), _("Choose a Python interpreter that has the computing packages.")),
        Remedy.SET_UP: (_("Set up…"), _("Install the computing packages into a folder of VCMSlicer's own.")),
        Remedy.SHOW_CONDITIONS: (_("Show conditions"), _("Open the section with the conditions.")),
        Remedy.SHOW_SUBJECT: (_("Show subject"), _("Open the section with the subject's values.")),
        Remedy.LOAD_KEPT: (_("Load it"), _("Load the image into the scene that is open now.")),
        Remedy.REGISTER: (
            _("Register…"),
            _("Find how the scan lies, and carry it into the model's space by a transform."),
        ),
        Remedy.SHOW_LOG: (_("Show log"), _("Show what the computing process wrote.")),
    }[remedy]


_REMEDIES = {
    Code.OUT_OF_MEMORY.value: Remedy.RETRY_ON_CPU,
    Code.DEVICE.value: Remedy.RETRY_ON_CPU,
    Code.PACK_MISSING.value: Remedy.CHOOSE_MODEL,
    Code.PACK_INVALID.value: Remedy.CHOOSE_MODEL,
    Code.PACK_DAMAGED.value: Remedy.CHOOSE_MODEL,
    Code.PACK_UNSAFE.value: Remedy.CHOOSE_MODEL,
    Code.CONDITION.value: Remedy.SHOW_CONDITIONS,
    Code.GEOMETRY.value: Remedy.SHOW_CONDITIONS,
    Code.ATTRIBUTE.value: Remedy.SHOW_SUBJECT,
    Code.DISK_FULL.value: Remedy.RETRY,
    Code.DOWNLOAD.value: Remedy.RETRY,
    # What the client itself finds out about a worker that does not answer as it should.
    jobState.NO_ENVIRONMENT: Remedy.SET_UP,
    jobState.WORKER_NOT_STARTED: Remedy.CHOOSE_PYTHON,
    jobState.WORKER_SILENT: Remedy.RETRY,
    jobState.WORKER_CRASHED: Remedy.RETRY,
    jobState.WORKER_ENDED: Remedy.RETRY,
    jobState.WORKER_HUNG: Remedy.RETRY,
    jobState.WORKER_VERSION: Remedy.SET_UP,
    jobState.IMPORT_FAILED: Remedy.RETRY,
}
