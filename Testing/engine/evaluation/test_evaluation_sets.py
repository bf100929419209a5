"""Networks from files, and two folders of volumes against each other."""

from __future__ import annotations

import csv
import pickle
import shutil

import evaluation_packs as packs
import feature_files
import numpy as np
import pytest
import tiny
import torch
from command_line import vcm
from faults import told
from vcm.core.errors import VcmError
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.evaluation.measures.feature_networks import AXES, SIDE, FeatureNetworks, slices
from vcm.evaluation.measures.frechet import frechet_distance
from vcm.volumes.volume_files import write_volume


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    home = tmp_path_factory.mktemp("networks")
    return {
        "inception": feature_files.script(home / "inception.pt", feature_files.Inception()),
        "lpips": feature_files.script(home / "lpips.pt", feature_files.Lpips()),
        "medicalnet": feature_files.medicalnet(home / "resnet_10.pth"),
    }


def picture(seed, scale=1.0):
    i, j, k = np.indices(tiny.GRID.shape) / 32
    noise = np.random.default_rng(seed).random(tiny.GRID.shape)
    return (scale * (0.2 + 0.2 * i + 0.15 * j + 0.1 * k + 0.3 * noise)).clip(0, 1).astype(np.float32)


def volume(seed, scale=1.0):
    return Volume(picture(seed, scale), tiny.GRID)


def test_planes_are_the_patients_whatever_the_order_of_the_axes(files):
    networks = FeatureNetworks.open({"inception": files["inception"]})
    image = volume(6)
    turned = image.grid.affine @ np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    other = Volume(image.array.transpose(1, 2, 0), Grid([24, 32, 16], turned))
    one, two = networks.features(image), networks.features(other)
    for plane in ("fid_2d_axial", "fid_2d_coronal", "fid_2d_sagittal"):
        assert np.array_equal(one[plane], two[plane])


def test_slices_run_along_the_axis_of_their_plane():
    """Of an image that faces the viewer: each slice of a ramp along the axis is one level, and levels rise."""
    assert AXES == {"sagittal": 0, "coronal": 1, "axial": 2}
    levels = {
        axis: slices(np.moveaxis(np.tile(np.linspace(0, 1, 16)[:, None, None], (1, 16, 16)), 0, axis), axis)
        for axis in range(3)
    }
    for found in levels.values():
        assert found.shape == (6, 3, SIDE, SIDE)
        assert torch.allclose(found.amax(dim=(1, 2, 3)), found.amin(dim=(1, 2, 3)))
        assert (found[1:, 0, 0, 0] > found[:-1, 0, 0, 0]).all()


def test_networks_see_slices_volumes_and_pairs(files):
    networks = FeatureNetworks.open(files)
    image = volume(1)
    found = networks.features(image)
    assert found["fid_2d_axial"].shape == (12, 3)
    assert found["fid_2d_sagittal"].shape == (6, 3)
    assert found["fid_3d"].shape == (1, 512)
    assert found["fid_2d_axial"][:, 0].mean() == pytest.approx(image.array.mean(), abs=0.03)
    assert networks.lpips(image, image) == 0
    black = Volume(np.zeros_like(image.array), image.grid)
    assert networks.lpips(image, black) == pytest.approx(image.array.mean(), abs=0.03)
    assert set(networks.hashes) == {"inception", "lpips", "medicalnet"}


@pytest.mark.parametrize("depth", [18, 50])
def test_medicalnets_depth_is_read_off_its_weights(depth, tmp_path):
    networks = FeatureNetworks.open({"medicalnet": feature_files.medicalnet(tmp_path / "weights.pth", depth)})
    assert networks.features(volume(2))["fid_3d"].shape == (1, 512 if depth == 18 else 2048)


def test_medicalnet_may_be_torchscript_whose_maps_are_averaged(tmp_path):
    networks = FeatureNetworks.open({"medicalnet": feature_files.script(tmp_path / "m.pt", feature_files.Volume3d())})
    (features,) = networks.features(volume(3))["fid_3d"]
    # Zero mean and unit variance over what is above 0, which here is everything.
    assert features[:2] == pytest.approx([0, 1], abs=1e-3)


class Evil:
    def __reduce__(self):
        return print, ("this must never run",)


def test_a_file_of_another_kind_is_refused_in_a_sentence_and_never_unpickled(tmp_path, capsys):
    evil = tmp_path / "evil.pth"
    evil.write_bytes(pickle.dumps(Evil()))
    torch.save({"layer1.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "text.pt").write_text("no network")
    for name, file, words in (
        ("medicalnet", evil, "neither TorchScript nor plain weights"),
        ("medicalnet", tmp_path / "other.pth", "not those of a ResNet"),
        ("inception", tmp_path / "text.pt", "it is not TorchScript"),
        ("lpips", tmp_path / "nowhere.pt", "There is no file"),
        ("vgg", tmp_path / "text.pt", "--features knows inception, medicalnet, lpips"),
    ):
        with pytest.raises(VcmError, match=words):
            FeatureNetworks.open({name: file})
    assert "must never run" not in capsys.readouterr().out


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_PACKS", str(packs.write_packs(tmp_path / "packs")))
    for folder, scale in (("a", 1.0), ("b", 0.8)):
        for n in range(3):
            write_volume(tmp_path / folder / f"head-{n}.nii.gz", Volume(picture(n, scale), tiny.GRID))
    return tmp_path


def sets(home, *more):
    return vcm(
        "evaluate", "--images", home / "a", "--references", home / "b", "--backbone", "tiny", "--device", "cpu",
        "--out", home / "out", *more,
    )  # fmt: skip


def summary(home):
    with (home / "out" / "summary.csv").open(encoding="utf-8") as stream:
        return {row["measure"]: row for row in csv.DictReader(stream)}


def test_volumes_of_one_name_are_pairs_and_both_folders_are_sets(home, files):
    ended = sets(home, *(f"--features={name}={path}" for name, path in files.items()))
    assert ended.code == 0 and "3 images, 3 references, 3 pairs by name" in ended.err, ended
    rows = summary(home)
    expected = np.mean([np.abs(picture(n) - picture(n, 0.8)).mean() for n in range(3)])
    assert float(rows["mae"]["images"]) == pytest.approx(expected, rel=1e-4)
    assert rows["mae"]["images_n"] == "3" and float(rows["lpips"]["images"]) > 0
    networks = FeatureNetworks.open(files)
    seen = [[networks.features(volume(n, scale)) for n in range(3)] for scale in (1.0, 0.8)]
    for measure in ("fid_3d", "fid_2d_axial", "fid_2d_coronal"):
        a, b = (np.concatenate([one[measure] for one in side]) for side in seen)
        assert float(rows[measure]["images"]) == pytest.approx(frechet_distance(a, b).value, rel=1e-6)
    assert float(rows["frechet_segmenter"]["images"]) > 0 and "biased" in rows["frechet_segmenter"]["remark"]


def test_folders_without_a_common_name_are_compared_as_sets_alone(home):
    for n in range(3):
        (home / "b" / f"head-{n}.nii.gz").rename(home / "b" / f"scan-{n}.nii.gz")
    assert sets(home).code == 0
    rows = summary(home)
    assert "mae" not in rows and rows["frechet_segmenter"]["images_n"] == "3"


def test_the_same_folder_twice_has_no_distance(home):
    shutil.rmtree(home / "b")
    shutil.copytree(home / "a", home / "b")
    assert sets(home).code == 0
    assert float(summary(home)["frechet_segmenter"]["images"]) == pytest.approx(0, abs=1e-9)
    assert "the same, voxel by voxel" in (home / "out" / "summary.md").read_text("utf-8")


def test_what_cannot_be_compared_is_left_out_by_name(home):
    moved = tiny.GRID.affine.copy()
    moved[1, 3] += 8
    write_volume(home / "b" / "head-0.nii.gz", Volume(picture(0), Grid(tiny.GRID.shape, moved)))
    write_volume(home / "a" / "head-1.nii.gz", Volume(picture(1) * 255, tiny.GRID))
    (home / "a" / "notes.txt").write_text("not a volume")
    ended = sets(home)
    assert ended.code == 0
    assert "head-0 is left out" in ended.err and "different grids" in ended.err
    assert "head-1 is left out" in ended.err and "volumes are compared in 0–1" in ended.err
    assert summary(home)["mae"]["images_n"] == "1"


def test_a_changed_volume_is_measured_again(home):
    assert sets(home).code == 0
    before = float(summary(home)["mae"]["images"])
    write_volume(home / "a" / "head-2.nii.gz", Volume(picture(2, 0.8), tiny.GRID))
    assert sets(home).code == 0
    assert float(summary(home)["mae"]["images"]) == pytest.approx(before * 2 / 3, rel=0.01)


def test_missing_folders_are_told(home):
    told(vcm("evaluate", "--images", home / "a", "--out", home / "out"), "both --images and --references", code=2)
    told(sets(home, "--images", home / "nowhere"), "There is no folder")
    (home / "empty").mkdir()
    told(sets(home, "--images", home / "empty"), "holds no volumes")
    told(sets(home, "--features", "inception"), "written NAME=FILE", code=2)
