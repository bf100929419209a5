"""The module from the Python console: nodes in, nodes out, whatever happens to the scene meanwhile."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from logicSetup import (
    FAKE_WORKER,
    Gaps,
    let,
    letterF,
    obliqueScan,
    segmentation,
    transformNode,
    turned,
    waitUntil,
    worldPoints,
)
from opened import home, tinyPacks  # noqa: F401
from vcm.core.errors import VcmError
from vcm.protocol import Accepted, Examined, Generate, Generated
from vcm.volumes.volume_files import read_volume
from VCMSlicerLib.conditions.conditionSource import ConditionChoice
from VCMSlicerLib.engine.jobState import IMPORT_FAILED, JobCancelled, JobFailed, JobState
from VCMSlicerLib.engine.workerClient import WorkerClient
from VCMSlicerLib.engine.workerProcess import WorkerCommand
from VCMSlicerLib.logicFacade import LogicFacade
from VCMSlicerLib.models.packCatalogue import findPack
from VCMSlicerLib.scene.niftiFile import WorldImage, writeNifti

pytestmark = pytest.mark.usefixtures("scene")
START_WORKER = Path(__file__).resolve().parents[3] / "VCMSlicer" / "VCMSlicerLib" / "engine" / "startWorker.py"


def matrixOf(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


@pytest.fixture
def makeLogic(home, tinyPacks, monkeypatch):  # noqa: F811
    """Logics over fake workers with the given faults."""
    monkeypatch.setenv("VCM_PACKS", str(tinyPacks))
    made = []

    def make(*arguments, results=None):
        command = WorkerCommand(sys.executable, (str(FAKE_WORKER), *arguments))
        made.append(LogicFacade(WorkerClient(lambda: command), results, home / "runs"))
        return made[-1]

    yield make
    for logic in made:
        logic.shutdown()


@pytest.fixture(scope="module")
def oneRealLogic(tinyPacks, tmp_path_factory):  # noqa: F811
    """A logic over the real worker, which stays warm from test to test."""
    surroundings = {**os.environ, "VCM_PACKS": str(tinyPacks), "OMP_NUM_THREADS": "1"}
    command = WorkerCommand(sys.executable, (str(START_WORKER),), surroundings)
    logic = LogicFacade(WorkerClient(lambda: command), runs=tmp_path_factory.mktemp("runs"))
    yield logic
    logic.shutdown()


@pytest.fixture
def realLogic(oneRealLogic, tinyPacks, monkeypatch):  # noqa: F811
    monkeypatch.setenv("VCM_PACKS", str(tinyPacks))
    return oneRealLogic


@pytest.fixture
def fakeLogic(makeLogic):
    return makeLogic("--steps", "3")


def drawn():
    """A mask on an oblique scan under a parent transform, and the places of its voxels."""
    volume, affine = obliqueScan()
    shape = letterF(volume)
    shape[5:20, 30:60, 25:45] = True
    node = segmentation(volume, Ventricles=shape)
    move = turned(1, 12)
    move[:3, 3] = (5, -9, 12)
    node.SetAndObserveTransformNodeID(transformNode(move).GetID())
    return node, worldPoints(shape, move @ affine)


def test_five_lines_of_a_script_give_a_volume_on_the_models_grid(realLogic):
    node, _points = drawn()
    ventricles = (node, "Ventricles")
    made = realLogic.generate(
        {"ventricles": ventricles}, attributes={"age": 72, "sex": "F"}, seed=1, pack="tiny", steps=2
    )
    grid = findPack("tiny").grid
    assert made.GetImageData().GetDimensions() == grid.shape
    assert np.allclose(matrixOf(made), grid.affine, atol=1e-4)
    assert "synthetic" in made.GetName().lower()
    assert made.GetDisplayNode() is not None and made.GetScene() is slicer.mrmlScene


def test_the_same_seed_gives_the_same_voxels_and_another_does_not(realLogic):
    node, _points = drawn()
    options = {"pack": "tiny", "steps": 2, "attributes": {"age": 60}}
    first, again, other = (
        slicer.util.arrayFromVolume(realLogic.generate({"ventricles": node}, seed=seed, **options))
        for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_second_generate_adds_less_than_three_tenths_of_a_second(realLogic):
    node, _points = drawn()
    options = {"conditions": {"ventricles": node}, "pack": "tiny", "steps": 4, "uncontrolled": True}
    realLogic.generate(**options)
    times, warm = {}, realLogic.client.workerPid
    remove = realLogic.client.onMessage(lambda message: times.setdefault(type(message), time.perf_counter()))
    begin = time.perf_counter()
    realLogic.generate(**options)
    assert realLogic.client.workerPid == warm
    whole, worker = time.perf_counter() - begin, times[Generated] - times[Accepted]
    remove()
    assert whole - worker < 0.3


def test_what_the_model_sees_lies_where_it_was_drawn(realLogic, tmp_path):
    node, points = drawn()
    job = realLogic.examine({"ventricles": (node, "Ventricles")}, pack="tiny")
    job.wait()
    assert isinstance(job.outcome, Examined)
    seen = read_volume(job.outcome.prepared[0].path)
    assert np.allclose(seen.grid.affine, findPack("tiny").grid.affine)
    index = np.stack(np.nonzero(seen.array), axis=-1)
    centre = index.mean(axis=0) @ seen.grid.affine[:3, :3].T + seen.grid.affine[:3, 3]
    assert np.linalg.norm(centre - points.mean(axis=0)) < 1.0  # voxels of the tiny model measure 4 mm
    assert abs(len(index) * 64 / (len(points) * 0.9 * 0.9 * 2) - 1) < 0.1
    assert job.findings == list(job.outcome.findings)


class Volumes:
    """Results that are volumes and nothing else."""

    def add(self, run, _request, _conditions):
        from VCMSlicerLib.scene.scene import importVolume

        return [importVolume(sample.path, f"seed {sample.seed}") for sample in run.samples]


def test_the_panel_is_never_held_up_while_a_job_runs_and_ends(makeLogic):
    logic = makeLogic("--steps", "20", results=Volumes())
    node, _points = drawn()
    job = logic.start({"ventricles": node}, pack="tiny", samples=3, uncontrolled=True)
    gaps = Gaps()
    nodes = job.wait()
    work, clock = gaps.worst()
    assert len(nodes) == 3 and work < 0.05 and clock < 0.5


def test_large_images_are_read_in_pieces(fakeLogic, tmp_path, monkeypatch):
    """160 × 224 × 160 voxels take Slicer's reader a third of a second; nobody should wait for that at a stretch."""
    from VCMSlicerLib.results.resultImport import Preloading
    from VCMSlicerLib.scene.scene import importVolume

    array = np.random.default_rng(0).random((160, 224, 160), np.float32)
    path = writeNifti(tmp_path / "large.nii.gz", WorldImage(array, np.diag([-1.0, 1, 1, 1])))
    ended = []
    gaps = Gaps()
    Preloading([str(path)], ended.append)
    waitLoop = qt.QEventLoop()
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: waitLoop.quit() if ended else None)
    timer.start(5)
    waitLoop.exec_()
    work, _clock = gaps.worst()
    begin = time.thread_time()
    node = importVolume(path, "large")
    assert ended == [None] and work < 0.05 and time.thread_time() - begin < 0.05
    assert np.array_equal(slicer.util.arrayFromVolume(node), array)


def test_reading_that_is_stopped_at_its_last_piece_hears_no_end(fakeLogic, monkeypatch):
    from VCMSlicerLib.results import resultImport

    ended, seen = [], []

    def pieces(_paths):
        seen.append("read")
        reading.stop()
        yield from ()

    monkeypatch.setattr(resultImport, "_readAll", pieces)
    reading = resultImport.Preloading([], ended.append)
    waitUntil(lambda: seen)
    let(0.1)
    assert ended == []


def test_several_samples_come_as_a_list(fakeLogic):
    nodes = fakeLogic.generate(samples=3, seed=10)
    assert len(nodes) == 3 and len({node.GetName() for node in nodes}) == 3


def test_a_job_tells_its_progress_previews_and_end(fakeLogic):
    job = fakeLogic.start(previewEvery=1)
    states, fractions, previews, ends = [], [], [], []
    job.onChanged(states.append)
    job.onProgress(lambda fraction, left, stage: fractions.append(fraction))
    job.onPreview(lambda path, sample, step: previews.append((Path(path).exists(), step)))
    job.onFinished(ends.append)
    assert not job.finished
    nodes = job.wait()
    assert states == [JobState.RUNNING, JobState.IMPORTING, JobState.DONE]
    assert fractions[-1] == 1.0 and previews == [(True, 1), (True, 2), (True, 3)] and ends == [job]
    assert job.wait() == nodes and job.fraction == 1.0 and job.secondsLeft is None


def test_a_failure_raises_its_sentence_and_a_cancelled_job_says_so(makeLogic):
    with pytest.raises(JobFailed, match="80 mm outside") as caught:
        makeLogic("--fault", "fail").generate()
    assert caught.value.failure.code == "GEOMETRY"
    logic = makeLogic("--steps", "500")
    job = logic.start()
    qt.QTimer.singleShot(300, job.cancel)
    with pytest.raises(JobCancelled):
        job.wait()
    assert job.state is JobState.IDLE and not list((logic._runs).iterdir())


def test_a_second_job_while_one_runs_is_refused(makeLogic):
    logic = makeLogic("--steps", "100")
    job = logic.start()
    with pytest.raises(VcmError, match="Another job is running"):
        logic.start()
    assert len(list(logic._runs.iterdir())) == 1
    job.cancel()


@pytest.mark.parametrize(
    "conditions, options, words",
    [
        (lambda node: {"ventricles": (node, "Ventrikles")}, {}, "no segment Ventrikles; it has: Ventricles"),
        (lambda node: {"tumour": node}, {}, "no condition tumour; it has: ventricles, skull"),
        (lambda node: {"ventricles": (None, "Ventricles")}, {}, "no node was given"),
        (lambda node: {}, {"pack": "huge"}, "no model huge"),
        (lambda node: {}, {"pack": "brainldm"}, "Not here yet"),
    ],
)
def test_what_cannot_work_is_refused_before_the_worker_starts(makeLogic, conditions, options, words):
    logic = makeLogic("--steps", "1")
    node, _points = drawn()
    with pytest.raises(VcmError) as caught:
        logic.start(conditions(node), **{"pack": "tiny", **options})
    assert words in str(caught.value)
    assert logic.client.state is JobState.IDLE and not logic.client.warmed
    assert not (logic._runs.exists() and list(logic._runs.iterdir()))


def test_a_segment_goes_by_its_name_its_id_or_a_like_spelling(makeLogic):
    logic = makeLogic("--steps", "1")
    node, _points = drawn()
    node.GetSegmentation().GetSegment("Ventricles").SetName("Left Ventricle")
    for wanted in ("Left Ventricle", "Ventricles", "left_ventricles", ["Left Ventricle"]):
        assert logic.generate({"ventricles": (node, wanted)}, pack="tiny") is not None


def test_attributes_without_a_scale_are_sent_raw(makeLogic, tmp_path):
    log = tmp_path / "log"
    logic = makeLogic("--steps", "1", "--log", str(log))
    logic.generate(attributes={"age": 70, "brain_volume": 0.4, "sex": "M"}, pack="tiny")
    from vcm.protocol import decode

    sent = decode(log.read_bytes().splitlines()[0])
    assert isinstance(sent, Generate)
    assert sent.attributes == {"age": 70.0, "sex": "M"} and sent.raw_attributes == {"brain_volume": 0.4}


def test_the_files_of_a_run_go_once_it_is_over(fakeLogic):
    node, _points = drawn()
    fakeLogic.generate({"ventricles": node}, pack="tiny", previewEvery=1)
    (run,) = fakeLogic._runs.iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["imported", "out", "run.jsonl"]
    fakeLogic.shutdown()
    assert not list(fakeLogic._runs.iterdir())


# The scene's life


def test_a_scene_closed_while_a_job_runs_keeps_the_images_for_the_next(makeLogic):
    logic = makeLogic("--steps", "30")
    node, _points = drawn()
    job = logic.start({"ventricles": node}, pack="tiny", seed=3)
    let(0.4)
    slicer.mrmlScene.Clear(0)
    assert job.wait() == []
    assert job.state is JobState.DONE and job.keptIn is not None
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    (run,) = logic.keptRuns()
    (opened,) = logic.openRun(run)
    assert opened.GetName().endswith("seed 3") and not logic.keptRuns()


def test_a_scene_closed_between_two_pieces_of_an_import_crashes_nothing(makeLogic, monkeypatch):
    logic = makeLogic("--steps", "1")
    closed = []

    def close(state):
        if state is JobState.IMPORTING:
            closed.append(slicer.mrmlScene.Clear(0))

    logic.client.onChanged(close)
    job = logic.start(samples=2)
    assert job.wait() == [] and closed and job.keptIn is not None and len(logic.keptRuns()) == 1


def test_kept_runs_are_found_by_another_logic(makeLogic):
    first = makeLogic("--steps", "10")
    job = first.start()
    slicer.mrmlScene.Clear(0)
    job.wait()
    first.shutdown()
    second = makeLogic("--steps", "1")
    assert len(second.openRun(second.keptRuns()[0])) == 1


def test_a_node_deleted_while_a_job_runs_is_no_longer_spoken_of(makeLogic):
    heard = []

    class Results:
        def add(self, run, request, conditions):
            heard.extend(conditions)
            return []

    logic = makeLogic("--steps", "10", results=Results())
    node, _points = drawn()
    job = logic.start([ConditionChoice("ventricles", segmentationNode=node, segmentIds=("Ventricles",))], pack="tiny")
    slicer.mrmlScene.RemoveNode(node)
    job.wait()
    assert heard == [] and job.state is JobState.DONE


def test_images_that_cannot_be_loaded_stay_on_the_disk(makeLogic):
    class Broken:
        def add(self, run, request, conditions):
            raise RuntimeError("no memory for the volume.")

    logic = makeLogic("--steps", "1", results=Broken())
    with pytest.raises(JobFailed, match="no memory for the volume") as caught:
        logic.generate()
    assert caught.value.failure.code == IMPORT_FAILED
    assert len(logic.keptRuns()) == 1 and (logic.keptRuns()[0].out / "sample-0.nii.gz").exists()


def test_a_damaged_image_is_a_failure_in_words(makeLogic):
    logic = makeLogic("--steps", "1")
    logic.client.onMessage(
        lambda m: Path(m.samples[0].path).write_bytes(b"\x1f\x8b\x08cut off") if isinstance(m, Generated) else None
    )
    with pytest.raises(JobFailed, match=r"sample-0\.nii\.gz cannot be read"):
        logic.generate()


def test_a_scene_reopened_goes_on_working(fakeLogic, tmp_path):
    fakeLogic.generate()
    slicer.mrmlScene.Clear(0)
    assert fakeLogic.generate(seed=4).GetName().endswith("seed 4")


def test_after_shutdown_nothing_listens_to_the_scene(fakeLogic):
    fakeLogic.generate()
    fakeLogic.shutdown()
    slicer.mrmlScene.Clear(0)
    assert fakeLogic.client.state is JobState.DONE


def test_a_worker_killed_from_outside_fails_the_job_and_the_next_one_works(makeLogic):
    logic = makeLogic("--steps", "300")
    job = logic.start()
    waitUntil(lambda: job.fraction > 0)
    os.kill(logic.client.workerPid, 9)
    with pytest.raises(JobFailed, match="ended from outside"):
        job.wait()
    assert logic.generate(steps=1) is not None
