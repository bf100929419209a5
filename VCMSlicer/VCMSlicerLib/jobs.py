"""The worker's client as the rest of the module uses it."""

from VCMSlicerLib.jobState import WORKER_CODES, Failure, JobCancelled, JobFailed, JobState
from VCMSlicerLib.workerClient import WorkerClient
from VCMSlicerLib.workerCommand import WorkerCommand

__all__ = ["WORKER_CODES", "Failure", "JobCancelled", "JobFailed", "JobState", "WorkerClient", "WorkerCommand"]
