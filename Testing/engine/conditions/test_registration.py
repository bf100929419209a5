"""Where a scan lies relative to the model's heads: found from any pose, written so that others read it, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from command_line import vcm
from phantoms import grid_in, rotation
from vcm.core.errors import Code, VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.judging.reference_head import Template
from vcm.protocol import Register, decode, encode
from vcm.registration.pose import Pose
from vcm.registration.scan import ALIGN, FAILED, GOOD, SEARCH, Registration, Verdict, measure_nearby, register_scan
from vcm.registration.transform_file import write_transform
from vcm.volumes.volume_files import LPS, read_volume, to_image, write_volume
from vcm.worker.contract import Call
from vcm.worker.engine import LocalEngine

CORNERS = np.array(np.meshgrid([-60, 60], [-80, 70], [-50, 60])).reshape(3, -1).T.astype(float)
RESOURCES = Path(__file__).resolve().parents[3] / "VCMSlicer" / "Resources" / "Template"
HEAD, LABELS = (read_volume(RESOURCES / f"{name}.nii.gz") for name in ("head", "labels"))
GRID = HEAD.grid
TEMPLATE = Template(Volume(HEAD.array.astype(np.float32) / 255, GRID), LABELS, "the average head")
REFERENCE = TEMPLATE.reference


def moved_by(degrees, shift, axis=(1.0, 2.0, -0.5)):
    turn = rotation(degrees, axis)
    turn[:3, 3] = shift
    return turn


def error_mm(found, moved):
    """How far off the corners of the brain's box are after a known move is undone."""
    return np.linalg.norm(Pose(found.pose.matrix @ moved).moved(CORNERS) - CORNERS, axis=1).max()


def scan(moved, brain_only=False, below=0, turned_over=False):
    """The average head that ships, moved: of another contrast, with noise, cut off at `below` voxels from its foot."""
    grid, rng = HEAD.grid, np.random.default_rng(4)
    array = (HEAD.array.astype(np.float32) / 255) ** 0.7 * 900 + rng.normal(0, 12, grid.shape) * (HEAD.array > 0)
    if brain_only:
        array = np.where(LABELS.array > 0, array, 0)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world((0, 0, below))
    array = array[:, :, below:]
    if turned_over:  # the same head with its voxels in another order
        turn = np.array([[0, 0, -1, array.shape[0] - 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
        array, affine = array[::-1].transpose(1, 2, 0), affine @ turn
    array = np.ascontiguousarray(array.clip(0)).astype(np.float32)
    return Volume(array, Grid(array.shape, moved @ affine))


TILTED = moved_by(30, (24, -26, 19))


@pytest.fixture(scope="module")
def tilted():
    """A scan tilted by 30° and moved by 40 mm, its voxels in another order; what was found, and what was heard."""
    heard = []
    given = scan(TILTED, turned_over=True)
    return given, register_scan(given, REFERENCE, lambda *at: heard.append(at)), heard


def test_a_tilted_and_shifted_head_is_found(tilted):
    _, found, heard = tilted
    assert error_mm(found, TILTED) < 2, found.words
    assert found.verdict is Verdict.GOOD and "turned by 30°" in found.words
    assert np.linalg.det(found.pose.matrix[:3, :3]) == pytest.approx(1)
    for stage in (SEARCH, ALIGN):
        steps = [step / total for name, step, total in heard if name == stage]
        assert steps == sorted(steps) and steps[-1] == 1
    assert heard[0][0] == SEARCH and heard[-1][0] == ALIGN


@pytest.mark.parametrize(
    ("moved", "how"),
    [
        (moved_by(180, (80, 0, -70), (1, 0.1, 0)), {"below": 8}),
        (moved_by(35, (-20, 30, 10), (1, 0, 0)), {"brain_only": True}),
    ],
    ids=["upside down, cut off below and far away", "a brain alone"],
)
def test_a_head_is_found_from_any_pose(moved, how):
    found = register_scan(scan(moved, **how), REFERENCE)
    assert error_mm(found, moved) < 2, found.words
    assert found.verdict is Verdict.GOOD


def not_a_head(kind):
    grid = grid_in("RAS", (64, 64, 64), (3.5, 3.5, 3.5), (0, 0, 0))
    x, y, z = np.moveaxis(grid.to_world(np.stack(np.indices(grid.shape), axis=-1)), -1, 0)
    rng = np.random.default_rng(5)
    if kind == "noise":
        return Volume(rng.random(grid.shape).astype(np.float32), grid)
    if kind == "ball":
        return Volume((x**2 + y**2 + z**2 < 75**2).astype(np.float32), grid)
    limb = np.where(np.hypot(x, y) < 60, 0.45, 0) + np.where(np.hypot(x, y) < 52, -0.15, 0)
    bone = np.hypot(x, y - 9) < 18 + 10 * np.exp(-(((np.abs(z) - 16) / 16) ** 2))
    knee = np.where(bone & (np.abs(z) > 4), 0.85, limb) + 0.02 * rng.random(grid.shape)
    return Volume(knee.astype(np.float32), grid)


@pytest.mark.parametrize("kind", ["noise", "ball"])
def test_what_is_no_head_is_not_registered(kind):
    found = register_scan(not_a_head(kind), REFERENCE)
    assert found.verdict is Verdict.FAILED, found.words
    assert "No head was found" in found.words


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_a_volume_of_one_value_is_not_registered(value):
    found = register_scan(Volume(np.full(GRID.shape, value, np.float32), GRID), REFERENCE)
    assert (found.verdict, found.similarity) == (Verdict.FAILED, 0.0)


def test_a_scan_of_half_a_brain_is_doubted():
    found = register_scan(scan(np.eye(4), below=40), REFERENCE)
    assert found.verdict is not Verdict.GOOD and found.coverage < 0.9


@pytest.mark.parametrize("after", [3, 40], ids=["while searching", "while aligning"])
def test_it_can_be_cancelled(after):
    asked = iter(range(10**9))
    with pytest.raises(VcmError) as ended:
        register_scan(scan(np.eye(4)), REFERENCE, cancelled=lambda: next(asked) >= after)
    assert ended.value.code is Code.CANCELLED


@pytest.mark.parametrize(("degrees", "shift"), [(0, (0, 0, 0)), (25, (6, -4, 9))])
def test_a_pose_near_by_is_measured(degrees, shift):
    found = measure_nearby(scan(moved_by(degrees, shift)), REFERENCE)
    assert found.similarity > GOOD > FAILED
    assert found.pose.degrees == pytest.approx(degrees, abs=4)


def test_an_image_of_a_skull_is_measured_by_the_hollow_head():
    moved = moved_by(20, (12, -9, 15), (1, 0.2, 0))
    whole = scan(moved)
    skull = Volume(np.where(LABELS.array > 0, 0, whole.array), whole.grid)
    found = measure_nearby(skull, REFERENCE.hollowed())
    assert found.pose.degrees == pytest.approx(20, abs=4) and error_mm(found, moved) < 8
    assert found.similarity > GOOD


# Files


@pytest.mark.parametrize("ending", [".tfm", ".h5"])
def test_the_transforms_file_resamples_the_scan_in_itk(tmp_path, ending):
    """SimpleITK resamples from the scan onto the model's grid with the file as it is; nothing of ours takes part."""
    pose = Pose(moved_by(33, (11, -7, 23)))
    write_transform(tmp_path / f"one{ending}", pose)
    own = Grid(GRID.shape, pose.inverse.matrix @ GRID.affine)  # the scan whose voxels the pose puts on the model's
    volume = Volume(np.random.default_rng(1).random(GRID.shape).astype(np.float32), own)
    drawn = sitk.Resample(
        to_image(volume.array, own),
        to_image(np.zeros(GRID.shape, np.float32), GRID),
        sitk.ReadTransform(str(tmp_path / f"one{ending}")),
        sitk.sitkLinear,
    )
    assert np.allclose(sitk.GetArrayFromImage(drawn).T[2:-2, 2:-2, 2:-2], volume.array[2:-2, 2:-2, 2:-2], atol=1e-3)


def test_the_transforms_file_is_text_whose_matrix_leads_from_the_model_to_the_scan_in_lps(tmp_path):
    pose = Pose(moved_by(33, (11, -7, 23)))
    write_transform(tmp_path / "one.tfm", pose)
    lines = (tmp_path / "one.tfm").read_text().splitlines()
    numbers = [float(n) for n in next(line for line in lines if line.startswith("Parameters")).split()[1:]]
    written = np.eye(4)
    written[:3, :3], written[:3, 3] = np.reshape(numbers[:9], (3, 3)), numbers[9:]
    assert lines[0] == "#Insight Transform File V1.0" and "AffineTransform_double_3_3" in lines[2]
    assert np.allclose(LPS @ written @ LPS, np.linalg.inv(pose.matrix), atol=1e-9)


# The command


@pytest.fixture
def phantom_pack(monkeypatch):
    """The command lays scans on the phantom's head."""
    monkeypatch.setattr("vcm.judging.reference_head.template_of", lambda pack, file=None: TEMPLATE)


def test_the_command_leaves_a_transform_the_scan_in_its_place_a_picture_and_a_report(tmp_path, tilted, phantom_pack):
    given, found, _ = tilted
    write_volume(tmp_path / "scan.nrrd", given, synthetic=False)
    out = tmp_path / "out"
    ended = vcm("register", tmp_path / "scan.nrrd", "--out", out)
    assert ended.code == 0 and "turned by 30°" in ended.out
    report = json.loads((out / "registration.json").read_text())
    assert report["verdict"] == "good" and report["scan"] == "scan.nrrd"
    assert np.allclose(report["scan_to_model_ras_mm"], found.pose.matrix, atol=1e-5), "not the same twice"
    laid = read_volume(out / "scan-in-model-space.nii.gz")
    assert np.array_equal(laid.array, given.array)
    assert np.allclose(laid.grid.affine, np.array(report["scan_to_model_ras_mm"]) @ given.grid.affine, atol=1e-3)
    assert b"synthetic" not in (out / "scan-in-model-space.nii.gz").read_bytes()
    written = sitk.ReadTransform(str(out / "scan-to-model.tfm"))
    there = np.array(report["scan_to_model_ras_mm"]) @ np.array([3, 4, 5, 1.0])
    assert np.allclose(written.TransformPoint((LPS @ there)[:3].tolist()), (-3, -4, 5), atol=1e-6)
    assert (out / "overlay.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_refuses_what_is_no_head_and_leaves_no_transform(tmp_path, phantom_pack):
    write_volume(tmp_path / "knee.nii.gz", not_a_head("knee"))
    out = tmp_path / "out"
    ended = vcm("register", tmp_path / "knee.nii.gz", "--out", out, "--json")
    assert ended.code == 1
    report = ended.json
    assert report["verdict"] == "failed" and report["scan_to_model_ras_mm"] is None
    left = sorted(path.name for path in out.iterdir() if path.suffix and not path.name.startswith("."))
    assert left == ["overlay.png", "registration.json"]


def test_files_of_the_user_and_the_scan_itself_are_never_replaced(tmp_path, phantom_pack):
    out = tmp_path / "out"
    write_volume(tmp_path / "scan.nii.gz", scan(np.eye(4)))
    out.mkdir()
    (out / "overlay.png").write_bytes(b"the user's")
    assert vcm("register", tmp_path / "scan.nii.gz", "--out", out).code == 2
    assert (out / "overlay.png").read_bytes() == b"the user's"
    (out / "overlay.png").unlink()
    (tmp_path / "scan.nii.gz").rename(out / "scan-in-model-space.nii.gz")
    assert vcm("register", out / "scan-in-model-space.nii.gz", "--out", out, "--force").code == 2
    assert (out / "scan-in-model-space.nii.gz").exists()


# The worker


@pytest.mark.parametrize("similarity", [0.5, 0.1], ids=["found", "not found"])
def test_the_worker_answers_with_the_matrix_and_the_files(tmp_path, phantom_pack, monkeypatch, similarity):
    there = Registration(Pose(TILTED).inverse, similarity, 1.0, 40.4)
    monkeypatch.setattr("vcm.runs.registering.register_scan", lambda *_: there)
    write_volume(tmp_path / "scan.nii.gz", scan(TILTED))
    sent = []
    call = Call("r", lambda message: sent.append(decode(encode(message))), lambda: False)
    asked = Register("r", str(tmp_path / "scan.nii.gz"), str(tmp_path / "out"))
    ending = LocalEngine().register(asked, call)
    assert decode(encode(ending)) == ending and Path(ending.overlay_path).is_file()
    assert (ending.id, ending.degrees, ending.shift_mm) == ("r", pytest.approx(30), 40.4)
    if similarity > GOOD:
        assert ending.verdict == "good" and Path(ending.transform_path).is_file()
        assert np.allclose(np.reshape(ending.scan_to_model, (4, 4)), np.linalg.inv(TILTED))
    else:
        assert (ending.verdict, ending.scan_to_model, ending.transform_path) == ("failed", (), None)


def test_a_request_that_is_cancelled_leaves_no_file(tmp_path, phantom_pack):
    write_volume(tmp_path / "scan.nii.gz", scan(TILTED))
    with pytest.raises(VcmError) as ended:
        call = Call("r", lambda _: None, lambda: True)
        LocalEngine().register(Register("r", str(tmp_path / "scan.nii.gz"), str(tmp_path / "out")), call)
    assert ended.value.code is Code.CANCELLED
    assert not [path for path in (tmp_path / "out").glob("*") if path.suffix]
