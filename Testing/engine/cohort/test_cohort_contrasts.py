"""The same head in T1, T2 and FLAIR."""

import json

import numpy as np
import pytest
from label_map_folder import CLASS_OF_LABEL, description, write_folder
from scipy.ndimage import binary_erosion
from vcm.cohort.files import read_cases
from vcm.cohort.making.contrasts import TISSUES, Contrast, spin_echo_signal
from vcm.cohort.making.heads import CohortMaker
from vcm.cohort.making.label_maps import LabelMaps, LabelTable
from vcm.cohort.making.making import make_cohort
from vcm.core.errors import VcmError
from vcm.outputs.record import RECORD

ALL = ("t1", "t2", "flair")


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return LabelMaps.open(write_folder(tmp_path_factory.mktemp("labelmaps") / "data"))


@pytest.fixture(scope="module")
def case(maps):
    return CohortMaker(maps, 7, contrasts=ALL).make(3)


def tissue(case, contrast, label):
    image = case.image if contrast == "t1" else case.further[contrast]
    return float(image.array[case.labels.array == label].mean())


def test_the_heads_of_a_seed_stay_those_that_it_made_before(maps):
    for number, mean, sd, voxels in (
        (0, 0.413433531, 0.287052565, (0.230646044, 0.466679215, 0.771342576)),
        (3, 0.387208322, 0.252026357, (0.211370111, 0.209644079, 0.223909721)),
    ):
        image = CohortMaker(maps, 7).make(number).image.array
        assert image.mean(dtype=float) == pytest.approx(mean, abs=1e-6)
        assert image.std(dtype=float) == pytest.approx(sd, abs=1e-6)
        assert [image[at] for at in ((11, 16, 13), (5, 20, 9), (15, 9, 20))] == pytest.approx(voxels, abs=1e-5)


def test_a_case_is_the_same_bit_for_bit_whatever_other_contrasts_are_made_of_it(maps, case):
    plain = CohortMaker(maps, 7).make(3)
    for part in ("image", "labels", "skull"):
        assert np.array_equal(getattr(case, part).array, getattr(plain, part).array)
    assert case.attributes == plain.attributes
    assert not plain.further
    only = CohortMaker(maps, 7, contrasts=["flair"]).make(3)
    assert np.array_equal(only.further["flair"].array, case.further["flair"].array)


def test_fluid_is_bright_on_t2_and_dark_on_flair(case):
    ventricles, white, grey = 4, 1, 2
    assert tissue(case, "t2", ventricles) > 1.5 * tissue(case, "t2", grey)
    assert tissue(case, "flair", ventricles) < 0.5 * tissue(case, "flair", white)
    assert tissue(case, "t1", ventricles) < tissue(case, "t1", grey) < tissue(case, "t1", white)
    assert tissue(case, "t2", white) < tissue(case, "t2", grey)


def test_each_contrast_has_its_own_noise(case):
    inside = binary_erosion(case.labels.array == 1, iterations=2)[1:]
    assert inside.sum() > 50
    # From voxel to voxel, where the smooth bias hardly changes and there is one tissue only.
    steps = [np.diff(volume.array, axis=0)[inside] for volume in (case.image, *case.further.values())]
    assert np.abs(np.corrcoef(steps)[np.triu_indices(3, 1)]).max() < 0.5
    for volume in case.further.values():
        assert volume.array.min() == 0 and volume.array.max() == 1
        assert volume.grid.same_as(case.image.grid)


def test_the_order_of_tissues_is_that_of_radiology_textbooks():
    table = LabelTable(*(np.array(a) for a in ([0, 2, 3, 4, 13, 507, 511, 515],) * 3), prior=None)
    rows = {name: Contrast.of(table, name) for name in ("t2", "flair")}
    mean = {
        name: dict(zip(table.labels.tolist(), found.prior.mean[found.row], strict=True)) for name, found in rows.items()
    }
    t2, flair = mean["t2"], mean["flair"]
    assert t2[4] > t2[3] > t2[2] > t2[13] > t2[507] > t2[515] > t2[0] == 0
    assert t2[511] > t2[2]
    assert flair[511] > flair[3] > flair[2] > flair[507] > flair[4] > flair[0] == 0
    assert flair[2] > 0.8 * flair[3]


def test_every_label_has_one_tissue():
    labels = [n for row in json.loads(TISSUES.read_text())["labels"].values() for n in row]
    assert len(labels) == len(set(labels))


def test_an_inversion_at_ln_2_of_t1_nulls_a_tissue():
    assert spin_echo_signal(1000, 100, 1, 1e6, 10, 1000 * np.log(2)) == pytest.approx(0, abs=1e-9)
    assert spin_echo_signal(1000, 100, 0.5, 1e9, 100, None) == pytest.approx(0.5 / np.e)


def test_priors_of_the_folder_go_before_physics(tmp_path):
    entry = description()
    entry["t2_prior"] = {**entry["t1_prior"], "mean_of_class_mean": [0.0, 1.0, 2.0, 3.0, 4.0]}
    (tmp_path / "labels.json").write_text(json.dumps(entry))
    table = LabelTable.read(tmp_path / "labels.json")
    assert Contrast.of(table, "t2").prior.mean[1] == 1
    assert Contrast.of(table, "flair").prior.mean.max() > 100


def test_a_label_of_no_known_tissue_is_named(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps(description({**CLASS_OF_LABEL, 999: 4})))
    table = LabelTable.read(tmp_path / "labels.json")
    with pytest.raises(VcmError, match="999 look like in a flair image"):
        Contrast.of(table, "flair")


def test_a_contrast_that_cannot_be_made_is_refused(maps):
    with pytest.raises(VcmError, match="'ct'; heads can be made in t1, t2 and flair"):
        CohortMaker(maps, 1, contrasts=["t1", "ct"])


def test_more_contrasts_of_a_cohort_are_added_to_what_is_there(maps, tmp_path):
    list(make_cohort(CohortMaker(maps, 4), 2, tmp_path / "grown"))
    before = (tmp_path / "grown/cases/00001/image.nii.gz").stat().st_mtime_ns
    list(make_cohort(CohortMaker(maps, 4, contrasts=["flair"]), 2, tmp_path / "grown"))
    list(make_cohort(CohortMaker(maps, 4, contrasts=["t2"]), 3, tmp_path / "grown"))
    list(make_cohort(CohortMaker(maps, 4, contrasts=ALL), 3, tmp_path / "grown"))
    list(make_cohort(CohortMaker(maps, 4, contrasts=ALL), 3, tmp_path / "whole"))
    assert (tmp_path / "grown/cases/00001/image.nii.gz").stat().st_mtime_ns == before
    for grown, whole in zip(read_cases(tmp_path / "grown"), read_cases(tmp_path / "whole"), strict=True):
        assert set(grown.parts) == set(whole.parts) == {"image", "labels", "skull", "t2", "flair"}
        for part in whole.parts:
            assert np.array_equal(grown.read(part).array, whole.read(part).array), (grown.name, part)


def test_a_cohort_from_before_there_were_parts_is_read_and_continued(maps, tmp_path):
    list(make_cohort(CohortMaker(maps, 4), 1, tmp_path))
    table = tmp_path / "cases.csv"
    table.write_text("\n".join(line.rpartition(",")[0] for line in table.read_text().splitlines()) + "\n")
    assert "parts" not in table.read_text()
    (tmp_path / RECORD).unlink()  # there was no such note either
    (entry,) = read_cases(tmp_path)
    assert entry.parts == ("image", "labels", "skull")
    with pytest.raises(VcmError, match="Case 00000 has no t2; it has image, labels, skull"):
        entry.read("t2")
    list(make_cohort(CohortMaker(maps, 4, contrasts=["t2"]), 1, tmp_path))
    assert read_cases(tmp_path)[0].read("t2").grid.same_as(entry.read("image").grid)


def test_no_contrast_is_added_to_a_head_that_is_another_one_now(maps, tmp_path):
    list(make_cohort(CohortMaker(maps, 4), 1, tmp_path / "cohort"))
    folder = write_folder(tmp_path / "changed", sides=(2.4, 1.15))
    with pytest.raises(VcmError, match="another head than its seed makes now"):
        list(make_cohort(CohortMaker(LabelMaps.open(folder), 4, contrasts=ALL), 1, tmp_path / "cohort"))
