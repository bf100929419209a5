"""What a job is doing, and how it went wrong: the words in which the client speaks to the panel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from vcm.protocol import Failed


class JobState(Enum):
    """`IDLE`, `DONE` and `FAILED` take a new job; the others are at work on one."""

    IDLE = "idle"
    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    IMPORTING = "importing"
    DONE = "done"
    FAILED = "failed"

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self not in (JobState.IDLE, JobState.DONE, JobState.FAILED)

    @property
    def canCancel(self) -> bool:
        """Whether it makes sense to ask for the end of the job."""
        return self in (JobState.STARTING, JobState.RUNNING)


# Failures of the worker's process itself; those of its work carry the engine's codes (vcm.core.errors.Code).
NO_ENVIRONMENT = "NO_ENVIRONMENT"
WORKER_NOT_STARTED = "WORKER_NOT_STARTED"
WORKER_SILENT = "WORKER_SILENT"
WORKER_CRASHED = "WORKER_CRASHED"
WORKER_ENDED = "WORKER_ENDED"
WORKER_HUNG = "WORKER_HUNG"
WORKER_VERSION = "WORKER_VERSION"
IMPORT_FAILED = "IMPORT_FAILED"

WORKER_CODES = (
    NO_ENVIRONMENT,
    WORKER_NOT_STARTED,
    WORKER_SILENT,
    WORKER_CRASHED,
    WORKER_ENDED,
    WORKER_HUNG,
    WORKER_VERSION,
    IMPORT_FAILED,
)


@dataclass(frozen=True)
class Failure:
    """A job that went wrong: a code for the remedy's button, a sentence, one thing to try, and the worker's last words.

    `code` is one of `WORKER_CODES` or the name of a `vcm.core.errors.Code`.
    """

    code: str
    sentence: str
    remedy: str = ""
    log: str = ""

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}".strip()


class JobFailed(Exception):
    """Raised to a script whose blocking call went wrong; a panel shows the `failure` instead."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class JobCancelled(Exception):
    """Raised to a script whose blocking call was cancelled from elsewhere."""


def failureOf(message: Failed, log: str = "") -> Failure:
    """What the worker said of a failure, in the panel's form."""
    return Failure(message.code.value, message.sentence, message.remedy, log)
