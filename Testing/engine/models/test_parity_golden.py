"""The published networks' own numbers, reached by the way users take: `vcm packs import`, then `vcm generate`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from vcm.cli import main
from vcm.core.grid import Grid
from vcm.core.volume import Volume
from vcm.models.loading import load_backbone, load_control
from vcm.packs.store import find_pack
from vcm.volumes.volume_files import read_volume, write_volume

# The golden files are no part of the repository: they lie beside it, or where VCM_REFERENCE says.
BESIDE = Path(__file__).resolve().parents[4] / "shared" / "reference"
REFERENCE = Path(os.environ.get("VCM_REFERENCE", BESIDE))
pytestmark = pytest.mark.skipif(
    not (REFERENCE / "golden_small_io.safetensors").exists(), reason="the golden files are not on this machine"
)
NAMES = ("sex", "age", "ventricular_volume", "brain_volume")


@pytest.fixture(scope="module")
def golden():
    return load_file(REFERENCE / "golden_small_io.safetensors")


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory):
    """The golden checkpoints as packs, imported once by the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VCM_PACKS", str(tmp_path_factory.mktemp("packs")))
        arguments = ["packs", "import", "golden", "--config", str(REFERENCE / "golden_small_config.json")]
        for option, file in (
            ("--autoencoder", "golden_small_autoencoder.pth"),
            ("--denoiser", "golden_small_diffusion_model.pth"),
            ("--control", "golden_small_vcm_semantics.pt"),
        ):
            arguments += [option, str(REFERENCE / file)]
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        yield


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference in standard deviations of what is expected."""
    return float(np.abs(np.asarray(found) - expected).max() / expected.std())


def as_tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy())


@torch.no_grad()
def test_single_calls_of_the_autoencoder_and_the_denoiser_agree(golden):
    backbone = load_backbone(find_pack("golden"))
    mean, sigma = backbone.autoencoder.encode(as_tensor(golden["input.image"]))
    assert relative(mean, golden["ae.encode.mu"]) < 1e-4
    assert relative(sigma, golden["ae.encode.sigma"]) < 1e-4
    scaled = as_tensor(golden["ae.encode.mu"]) * backbone.scale_factor
    for slab_bytes in (None, 1 << 16):
        backbone.slab_bytes = slab_bytes
        assert relative(backbone.decode(scaled), golden["ae.decode"]) < 1e-4
    noise, attributes = as_tensor(golden["input.noise"]), as_tensor(golden["input.attributes"])[:, 0]
    for t in (0, 17, 500, 999):
        eps = backbone.predict(noise, torch.tensor([float(t)]), attributes)
        assert relative(eps, golden[f"dm.eps.t{t}"]) < 1e-4


@torch.no_grad()
def test_single_calls_of_the_control_agree(golden):
    control = load_control(find_pack("golden-semantics"))
    labels = golden["input.labels"]
    channels = as_tensor(np.stack([labels == value for value in range(1, 9)]).astype(np.float32))[None]
    encoded = control.network.encode({"semantics": channels})
    assert relative(encoded["shared"], golden["vcm.encoded_condition"]) < 1e-4
    for t in (0, 17, 500, 999):
        eps = as_tensor(golden[f"dm.eps.t{t}"])
        gamma, beta = control.network.modulation(
            as_tensor(golden["input.noise"]), eps, torch.tensor([float(t)]), encoded
        )
        assert relative(gamma, golden[f"vcm.gamma.t{t}"]) < 1e-4
        assert relative(beta, golden[f"vcm.beta.t{t}"]) < 1e-4


@pytest.mark.parametrize(("steps", "bound"), [(10, 1e-3), (200, 1e-2)])
def test_ddim_through_the_command_line_agrees(golden, tmp_path, steps, bound):
    grid = json.loads((REFERENCE / "golden_small_config.json").read_text())["affine"]
    write_volume(tmp_path / "labels.nii.gz", Volume(golden["input.labels"], Grid((32, 64, 32), grid)))
    np.save(tmp_path / "noise.npy", golden["input.noise"])
    raw = golden["input.attributes"].ravel()
    attributes = [f"--attribute={name}.raw={value!r}" for name, value in zip(NAMES, map(float, raw), strict=True)]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("generate", "--pack=golden", f"--condition=semantics={tmp_path}/labels.nii.gz", *attributes),
                *("--sampler=ddim", f"--steps={steps}", f"--noise={tmp_path}/noise.npy", "--uncontrolled"),
                *("--device=cpu", "--precision=fp32", f"--out={out}"),
            ]
        )
    assert ended.value.code == 0
    for kind, file in (("controlled", "sample-0.nii.gz"), ("uncontrolled", "uncontrolled-0.nii.gz")):
        assert relative(read_volume(out / file).array, golden[f"ddim{steps}.{kind}.image"][0, 0]) < bound
