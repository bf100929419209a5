"""The worker's client as the rest of the module uses it."""

from VCMSlicerLib.engine.jobState import WORKER_CODES, Failure, JobCancelled, JobFailed, JobState
from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.engine.workerCommand import WorkerCommand

__all__ = ["WORKER_CODES", "Failure", "JobCancelled", "JobFailed", "JobState", "WorkerClient", "WorkerCommand"]
