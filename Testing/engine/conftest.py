"""What several files of tests share: the tiny model as packs on disk, made once, and workers that are ended."""

import os

import pytest
import tiny
from vcm.protocol import Ready
from worker_client import WorkerClient


@pytest.fixture(scope="session")
def tiny_packs(tmp_path_factory):
    """A packs' folder with the backbone `tiny` and its control `tiny-both`; nobody changes it."""
    folder = tmp_path_factory.mktemp("tiny") / "packs"
    tiny.write_packs(folder)
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    return folder


@pytest.fixture
def with_tiny_packs(tiny_packs, monkeypatch):
    """The command line finds the tiny packs beside the embedded ones."""
    monkeypatch.setenv("VCM_PACKS", os.fspath(tiny_packs))
    return tiny_packs


@pytest.fixture
def start_worker():
    """Starts scripted workers; each is ended after the test."""
    clients = []

    def start_one(*arguments, **options):
        clients.append(WorkerClient(*arguments, **options))
        return clients[-1]

    yield start_one
    for client in clients:
        client.close()


@pytest.fixture
def worker(start_worker):
    """A scripted worker that is ready."""
    client = start_worker()
    client.get(Ready)
    return client
