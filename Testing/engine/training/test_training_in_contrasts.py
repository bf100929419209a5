"""Learning from several contrasts of the same heads: each shows its own image, and is named as the backbone has it."""

import json

import numpy as np
import pytest
import tiny
import torch
from small_cohort import write_cohort
from tiny import GRID
from vcm.cohort.contrasts import contrasts_of, in_contrasts
from vcm.cohort.files import read_cases
from vcm.cohort.learning_cases import cohort_cases, condition_specs
from vcm.core.errors import VcmError
from vcm.core.volume import Volume
from vcm.evaluation.control_evaluation import CaseOptions
from vcm.evaluation.evaluated_case import fingerprint, read_case
from vcm.models.loading import load_backbone
from vcm.packs.store import find_pack
from vcm.training.backbone.autoencoder_settings import AutoencoderSettings
from vcm.training.data.latent_cache import LatentCache
from vcm.training.data.latent_store import open_latents
from vcm.training.trainer.team import Team
from vcm.training.trainer.trainer import Listeners
from vcm.volumes.volume_files import write_volume

NAMED = {"image": {"class": 2.0}, "t2": {"class": 0.0}}


@pytest.fixture
def cohort(tmp_path):
    """Three heads; their T2 images are a tenth of the case's number everywhere, which no T1w image is."""
    folder = tmp_path / "cohort"
    for n, entry in enumerate(write_cohort(folder, 3)):
        write_volume(entry.folder / "t2.nii.gz", Volume(np.full(GRID.shape, 0.1 * (n + 1), np.float32), GRID))
    table = folder / "cases.csv"
    table.write_text(table.read_text().replace("image labels skull", "image labels skull t2"))
    return folder


def test_each_contrast_is_a_case_with_its_own_image_name_and_attributes(cohort):
    plain = read_cases(cohort)
    cases = in_contrasts(plain, NAMED)
    assert [case.name for case in cases] == ["00000", "00000-t2", "00001", "00001-t2", "00002", "00002-t2"]
    assert [case.attributes["class"] for case in cases] == [2.0, 0.0] * 3
    assert all(case.attributes["age"] == 0.3 and case.head == plain[n // 2].head for n, case in enumerate(cases))
    assert float(cases[3].read("image").array.mean()) == pytest.approx(0.2, abs=1e-3)
    assert np.array_equal(cases[2].read("image").array, plain[1].read("image").array)
    assert np.array_equal(cases[3].read("labels").array, plain[1].read("labels").array)
    assert in_contrasts(plain, {}) == plain


def test_the_skull_of_another_contrast_is_not_lent(cohort):
    t1, t2 = in_contrasts(read_cases(cohort)[:1], NAMED)
    assert t1.read("skull").array.max() > 0
    with pytest.raises(VcmError, match="00000-t2 has no skull"):
        t2.read("skull")


def test_a_contrast_that_the_cohort_lacks_is_refused(cohort):
    with pytest.raises(VcmError, match=r"Case 00000 has no flair; it has image, labels, skull, t2\."):
        in_contrasts(read_cases(cohort), {"flair": {}})


@pytest.fixture
def named_packs(tmp_path, monkeypatch):
    """The tiny backbone with an attribute that names contrasts, whose raw numbers follow no order of the names."""
    tiny.write_packs(tmp_path / "packs")
    path = tmp_path / "packs" / "tiny" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["attributes"][0] = {
        "name": "class", "title": "Contrast", "choices": {"FLAIR": 0.75, "T2w": 0, "T1w": 1}, "default": 1,
    }  # fmt: skip
    path.write_text(json.dumps(manifest))
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))


def test_contrasts_go_by_the_names_and_numbers_of_the_backbone(named_packs):
    chosen = {"image": "T1w", "t2": "T2w", "flair": "FLAIR"}
    attributes = find_pack("tiny").backbone.attributes
    found = contrasts_of(chosen, attributes, "tiny")
    assert found == {"image": {"class": 1}, "t2": {"class": 0}, "flair": {"class": 0.75}}
    assert contrasts_of({}, attributes, "tiny") == {}
    for part in ("labels", "skull"):
        with pytest.raises(VcmError, match=f"The part {part} of a case shows no contrast"):
            contrasts_of({part: "T1w"}, attributes, "tiny")
    with pytest.raises(VcmError, match="tiny has no attribute with the choices SWI, T1w"):
        contrasts_of({"image": "T1w", "t2": "SWI"}, attributes, "tiny")


def test_settings_read_contrasts_from_a_file(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text('contrasts = {image = "T1w", t2 = "T2w"}\n')
    read = AutoencoderSettings.read(file)
    assert read.contrasts == {"image": "T1w", "t2": "T2w"}
    assert AutoencoderSettings.from_dict(read.as_dict()) == read
    file.write_text("contrasts = {image = 1}\n")
    with pytest.raises(VcmError, match="contrasts"):
        AutoencoderSettings.read(file)


def test_latents_of_two_contrasts_of_one_head_are_kept_apart(cohort, tmp_path, with_tiny_packs):
    pack = find_pack("tiny")
    backbone = load_backbone(pack)
    named = {"image": {"sex": 1.0}, "t2": {"sex": 0.0}}
    cases = cohort_cases(cohort, backbone.grid, 2, named)
    specs = condition_specs(["ventricles"])
    cache = open_latents(pack, backbone, cases, specs, tmp_path / "latents", Team("cpu"), Listeners())
    assert isinstance(cache, LatentCache) and len(cache) == 4
    place = [spec.name for spec in backbone.attributes].index("sex")
    assert cache.attributes[:, place].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert not torch.equal(cache.latents[0], cache.latents[1]) and not torch.equal(cache.latents[1], cache.latents[3])
    assert torch.equal(cache.voxels(specs[0], [0]), cache.voxels(specs[0], [1]))


def test_an_evaluation_takes_each_contrast_for_a_case_and_notices_a_change_in_it(cohort):
    specs = condition_specs(["ventricles"])
    options = CaseOptions(count=2, contrasts=NAMED)
    cases = options.cases(cohort)
    assert [case.name for case in cases] == ["00000", "00000-t2", "00001", "00001-t2"] and options.heads_apart == 2
    before = [fingerprint(case, specs) for case in cases]
    assert len(set(before)) == 4
    write_volume(cases[0].folder / "t2.nii.gz", Volume(np.full(GRID.shape, 0.7, np.float32), GRID))
    after = [fingerprint(case, specs) for case in cases]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
    read = read_case(cases[1], specs, GRID)
    assert read.images["skull"] is None and read_case(cases[0], specs, GRID).images["skull"] is not None
    assert float(read.image.array.max()) == pytest.approx(0.7, abs=1e-3) and read.attributes["class"] == 0.0
