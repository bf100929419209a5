"""What samples lack of their cases' spread: measured place by place, kept with the run, exported with the pack."""

import numpy as np
import pytest
import tiny
import torch
from command_line import vcm
from scipy import ndimage
from small_cohort import write_cohort
from vcm.cohort.learning_cases import CohortCase
from vcm.core.errors import VcmError
from vcm.models.loading import load_backbone, load_control
from vcm.packs.manifest import UsualSampling
from vcm.packs.store import find_pack
from vcm.training.spread import MOST, SMOOTHED_MM, measure_spread, missing_spread

DENOISER = """
backbone = "tiny"
scratch = true
prediction = "v"
steps = 2
batch = 2
precision = "fp32"
network = { channels = [8], num_res_blocks = [1], attention_levels = [true], num_head_channels = [8] }
"""
CONTROL = """
backbone = "fresh"
conditions = ["ventricles"]
architecture = "vcm"
variant = "small"
steps = 1
batch = 2
precision = "fp32"
"""


def test_the_factor_is_found_where_it_is_along_every_axis():
    """Against samples whose spread was taken away by a known factor, unlike along each axis and on both sides alike."""
    rng = np.random.default_rng(1)
    shape, spacing = (12, 20, 16), np.array([8.0, 6.0, 10.0])
    real = rng.normal(size=(60, 4, *shape)).astype(np.float32) + 3.0
    factor = np.full(shape, 1.2)
    factor[:, 14:, :] = 0.9
    factor[:, :, :5] = 1.4
    made = (real - 3.0) / factor + 7.0
    found = missing_spread(real, made.astype(np.float32), spacing, left_right=0)
    smooth = np.sqrt(ndimage.gaussian_filter(np.ones(shape), SMOOTHED_MM / spacing)) / np.sqrt(
        ndimage.gaussian_filter(factor**-2.0, SMOOTHED_MM / spacing)
    )
    assert found.dtype == np.float32 and np.abs(found - smooth).max() < 0.06
    for place, value in (((6, 5, 12), 1.2), ((6, 19, 12), 0.9), ((6, 5, 0), 1.4)):
        assert found[place] == pytest.approx(value, abs=0.05)


def test_both_sides_have_the_same_and_none_has_too_much():
    rng = np.random.default_rng(2)
    real = rng.normal(size=(30, 2, 8, 6, 4)).astype(np.float32)
    made = real.copy()
    made[:, :, :3] /= 5
    found = missing_spread(real, made, np.full(3, 8.0), left_right=0)
    assert np.array_equal(found, found[::-1]) and found.max() > 1.3
    for factor in (5.0, 0.2):
        found = missing_spread(real, real / np.float32(factor), np.full(3, 8.0), left_right=0)
        assert np.allclose(found, MOST if factor > 1 else 1 / MOST)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, count=8)
    return folder


@pytest.fixture
def packs(tmp_path, monkeypatch):
    tiny.write_packs(tmp_path / "packs")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    return tmp_path / "packs"


def run(*words, expect=0):
    done = vcm("train", *map(str, words))
    assert done.code == expect, done.err
    return done


def trained(kind, settings, cohort, folder):
    folder.mkdir()
    (folder / "settings.toml").write_text(settings)
    run(kind, "--config", folder / "settings.toml", "--cases", cohort, "--out", folder / "run", "--device", "cpu")
    return folder / "run"


def test_a_denoiser_and_a_control_are_exported_with_what_their_samples_lack(cohort, packs, tmp_path):
    learned = trained("denoiser", DENOISER, cohort, tmp_path / "denoiser")
    export = ("export", "--run", learned, "--out", packs / "fresh")
    run(*export)
    said = run("spread", "--run", learned, "--pack", "fresh", "--cases", cohort, "--device", "cpu").out
    assert "Samples fall short by a factor of" in said
    assert load_backbone(find_pack("fresh")).spread is None
    run(*export, "--bits", 8)
    own = load_backbone(find_pack("fresh")).spread
    assert own.shape == tiny.LATENT[1:] and own.std() > 0
    assert f"{own.median():.2f} (median; {own.min():.2f} to {own.max():.2f})" in said

    control = trained("control", CONTROL, cohort, tmp_path / "control")
    export = ("export", "--run", control, "--out", packs / "steers")
    run(*export)
    run("spread", "--run", control, "--pack", "steers", "--cases", cohort, "--device", "cpu")
    run(*export)
    other = load_control(find_pack("steers")).spread
    assert other.shape == own.shape and not torch.equal(other, own)

    longer = CONTROL.replace("steps = 1", "steps = 2")
    (tmp_path / "control" / "settings.toml").write_text(longer)
    words = ("--config", tmp_path / "control" / "settings.toml", "--cases", cohort, "--out", control)
    run("control", *words, "--device", "cpu")
    stale = run(*export, expect=2).err
    assert "was measured at step 1, and the training has come to step 2" in " ".join(stale.split())

    again = trained("denoiser", DENOISER.replace('"tiny"', '"fresh"'), cohort, tmp_path / "again")
    run("export", "--run", again, "--out", packs / "newer")
    assert "spread" not in find_pack("newer").backbone.files, "it was that of another denoiser's samples"


def test_it_is_measured_anew_whatever_was_measured_before(cohort, packs, tmp_path):
    """And on the samples that the pack's own sampler makes, under the conditions of each case."""
    learned = trained("denoiser", DENOISER, cohort, tmp_path / "denoiser")
    run("export", "--run", learned, "--out", packs / "fresh")
    backbone, control = load_backbone(find_pack("fresh")), tiny.control()
    from vcm.cohort.files import read_cases

    cases = [CohortCase(case, tiny.GRID) for case in read_cases(cohort)]
    usual = UsualSampling("dpm++", 2)
    alone, steered = measure_spread(backbone, None, cases, usual), measure_spread(backbone, control, cases, usual)
    backbone.spread = control.spread = torch.full(tiny.LATENT[1:], 3.0)
    done = []
    assert torch.equal(measure_spread(backbone, control, cases, usual, done.append), steered)
    assert done == list(range(1, 9))
    assert not torch.equal(alone, steered)


def test_what_cannot_be_measured_is_refused_in_a_sentence(cohort, packs, tmp_path):
    learned = trained("denoiser", DENOISER, cohort, tmp_path / "denoiser")
    words = ("spread", "--run", learned, "--cases", cohort, "--device", "cpu")
    assert "mean of the latents, which this backbone does not take out" in " ".join(
        run(*words, "--pack", "tiny", expect=2).err.split()
    )
    assert "on 8 cases or more, not on 3" in " ".join(run(*words, "--pack", "tiny", "--count", 3, expect=2).err.split())
    refused = " ".join(run(*words, "--pack", "tiny-both", expect=2).err.split())
    assert "holds the training of a denoiser, and tiny-both is no pack of one" in refused
    assert not (learned / "spread.safetensors").exists()
    (tmp_path / "empty").mkdir()
    missing = run("spread", "--run", tmp_path / "empty", "--pack", "tiny", "--cases", cohort, expect=1).err
    assert "is not the folder of a training" in " ".join(missing.split())


def test_latents_without_a_mean_are_refused():
    with pytest.raises(VcmError, match="does not take out"):
        measure_spread(tiny.backbone(), None, [None] * 8, UsualSampling())
