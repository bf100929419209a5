"""The extension installs only the files that Files.cmake lists: the worker has to serve with nothing else beside it."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import packaged_files
import pytest
from vcm import protocol

PACKS = Path(__file__).parents[2] / "packs"
PATIENCE = 180


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The module's folder as the extension installs it."""
    folder = tmp_path_factory.mktemp("installed")
    for name in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"):
        for path in packaged_files.listed(name):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(packaged_files.MODULE / path, folder / path)
    return folder


def answers(folder: Path, *requests: protocol.Message) -> list:
    """All that a worker started from that folder says until it has ended every request."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "VCM_PACKS": str(PACKS), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vcm.worker"]
    decoder, said, open_requests = protocol.LineDecoder(), [], {request.id for request in requests}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=folder, env=environment) as worker:
        timer = threading.Timer(PATIENCE, worker.kill)
        timer.start()
        worker.stdin.write(b"".join(map(protocol.encode, requests)))
        worker.stdin.flush()
        while open_requests and (line := worker.stdout.readline()):
            said += decoder.feed(line)
            open_requests -= {message.id for message in said if isinstance(message, protocol.ENDINGS)}
        worker.stdin.close()
        timer.cancel()
    return said


def test_the_worker_generates_from_the_installed_files_alone(installed, tmp_path):
    mask = protocol.ConditionInput("ventricles", str(installed / "Resources" / "DemoCase" / "ventricles.nii.gz"))
    said = answers(
        installed,
        protocol.ListPacks("list"),
        protocol.Preflight("machine", str(tmp_path)),
        protocol.Examine("doctor", (mask,), "micro", "micro-ventricles"),
        protocol.Generate(
            "head",
            str(tmp_path / "out"),
            (mask,),
            pack="micro",
            control="micro-ventricles",
            seed=3,
            steps=4,
            uncontrolled=True,
        ),
        protocol.Segment("labels", str(tmp_path / "out" / "sample-0.nii.gz"), str(tmp_path / "labels.nii.gz"), "micro"),
    )
    kinds = {type(message) for message in said}
    expected = {protocol.Packs, protocol.Machine, protocol.Examined, protocol.Generated, protocol.Segmented}
    assert expected <= kinds, said
    assert protocol.Failed not in kinds, said
    assert (tmp_path / "labels.nii.gz").is_file() and (tmp_path / "out" / "montage.png").is_file()


def test_training_evaluation_and_cohorts_are_not_installed(installed):
    found = {path.name for path in (installed / "vcm").iterdir()}
    assert {"worker", "packs", "sampling", "protocol"} <= found
    assert not found & {"training", "teach", "cohort", "evaluation", "cli", "__main__.py"}
