"""Packs and checkpoints made to do harm: refused in a sentence, in seconds and in little memory."""

import io
import json
import subprocess
import sys
import zipfile

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from vcm.core.errors import Code, VcmError
from vcm.models.loading import load_backbone, load_control
from vcm.packs.manifest_reading import read_manifest, write_manifest
from vcm.packs.store import Pack
from vcm.packs.tensors.checkpoints import read_checkpoint

FLOATS = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn]


def pack_at(folder):
    return Pack(folder, read_manifest(folder))


@pytest.fixture
def folder(tmp_path):
    tiny.write_packs(tmp_path)
    return tmp_path


def rewritten(folder, name, change):
    """The pack's manifest changed, its hashes put right again."""
    content = json.loads((folder / name / "manifest.json").read_text())
    change(content)
    write_manifest(folder / name, content)


@pytest.mark.parametrize(("name", "role", "load"), [
    ("tiny", "denoiser", load_backbone),
    ("tiny", "autoencoder", load_backbone),
    ("tiny-both", "control", load_control),
])  # fmt: skip
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_found_when_the_pack_is_loaded(folder, name, role, load, number):
    path = folder / name / f"{role}.safetensors"
    weights = load_file(path)
    spoilt = sorted(weights)[len(weights) // 2]
    weights[spoilt].view(-1)[-1] = number
    save_file(weights, path)
    rewritten(folder, name, lambda content: None)
    with pytest.raises(VcmError) as caught:
        load(pack_at(folder / name))
    assert caught.value.code is Code.PACK_INVALID
    assert name in caught.value.sentence
    assert f"“{spoilt}”" in caught.value.sentence
    assert str(path) in caught.value.sentence


@pytest.mark.parametrize("dtype", FLOATS)
def test_they_are_found_in_every_number_type(tmp_path, dtype):
    good = torch.ones(5, 7).to(dtype)
    torch.save({"weight": good}, tmp_path / "good.pt")
    assert read_checkpoint(tmp_path / "good.pt")["weight"].dtype is dtype
    bad = torch.ones(5, 7)
    bad[3, 2] = float("nan")
    torch.save({"weight": bad.to(dtype)}, tmp_path / "bad.pt")
    with pytest.raises(VcmError, match="weight"):
        read_checkpoint(tmp_path / "bad.pt")


HUGE = {
    "a billion blocks": ("denoiser", {"num_res_blocks": [1, 10**9]}),
    "a billion blocks in all": ("denoiser", {"num_res_blocks": 10**9}),
    "a billion channels": ("denoiser", {"channels": [8, 10**9]}),
    "a billion levels": ("autoencoder", {"channels": [8] * 9}),
    "no groups": ("autoencoder", {"norm_num_groups": -1}),
    "no group": ("autoencoder", {"norm_num_groups": 0}),
    "a billion transformers": ("denoiser", {"transformer_num_layers": 10**9}),
    "a wide context": ("denoiser", {"cross_attention_dim": 10**9}),
    "a hidden number": ("denoiser", {"other": {"deep": [[10**9]]}}),
    "a flat network": ("denoiser", {"spatial_dims": 2}),
    "more than its file": ("denoiser", {"channels": [4096, 4096]}),
    "much more than its file": ("denoiser", {"channels": [8192] * 8, "num_res_blocks": [16] * 8,
                                              "attention_levels": [True] * 8, "num_head_channels": [32] * 8}),
}  # fmt: skip
LOADING = """
import sys
from pathlib import Path
from vcm.core.errors import VcmError
from vcm.models.loading import load_backbone
from vcm.packs.manifest_reading import read_manifest
from vcm.packs.store import Pack
try:
    folder = Path(sys.argv[1])
    load_backbone(Pack(folder, read_manifest(folder)))
except VcmError as error:
    print(error.code.value, error.sentence)
"""


def outside(program, *arguments, seconds=60):
    """What a process prints, and the most memory it had, in bytes."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    watched = (
        "import json, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024\n"
        "print(json.dumps([done.returncode, done.stdout, done.stderr, most]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", watched, *command], capture_output=True, text=True, timeout=seconds, check=True
    )
    code, out, err, most = json.loads(done.stdout)
    assert code == 0, err
    return out, most


@pytest.mark.parametrize("case", HUGE)
def test_a_manifest_of_an_absurd_network_is_refused_before_it_takes_memory(folder, case):
    role, options = HUGE[case]
    path = folder / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    content["networks"][role] |= options
    path.write_text(json.dumps(content))
    with pytest.raises(VcmError) as caught:
        load_backbone(pack_at(folder / "tiny"))
    assert caught.value.code is Code.PACK_INVALID
    assert "tiny" in caught.value.sentence


def test_the_largest_network_that_a_manifest_may_describe_is_refused_in_little_memory(folder):
    path = folder / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    content["networks"]["denoiser"] |= HUGE["much more than its file"][1]
    path.write_text(json.dumps(content))
    out, most = outside(LOADING, folder / "tiny")
    assert out.startswith("PACK_INVALID"), out
    assert "weights, and the file for them has" in out
    assert most < 800e6


@pytest.mark.parametrize(("place", "value"), [
    (("grid", "shape"), [65536, 65536, 65536]),
    (("latent", "shape"), [65536, 4, 6, 8000]),
    (("attributes",), [{"name": f"a{n}", "title": "A"} for n in range(100)]),
])  # fmt: skip
def test_a_manifest_of_absurd_sizes_is_refused(folder, place, value):
    path = folder / "tiny" / "manifest.json"
    content = json.loads(path.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(VcmError) as caught:
        read_manifest(folder / "tiny")
    assert caught.value.code is Code.PACK_INVALID
    assert str(path) in caught.value.sentence


def test_the_packs_that_ship_fit_their_schema_and_their_files():
    from vcm.models.layout.layout import Layout
    from vcm.packs.store import EMBEDDED

    for home in sorted(EMBEDDED.iterdir()):
        pack = pack_at(home)
        {"backbone": load_backbone, "control": load_control, "layout": Layout.load}[pack.manifest.kind](pack)


def archive(path, *, compression, structure):
    """A checkpoint's archive whose `data.pkl` is something else."""
    torch.save({"weight": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as old:
        parts = {part.filename: old.read(part) for part in old.infolist()}
    with zipfile.ZipFile(path, "w", compression=compression) as new:
        for name, data in parts.items():
            if name.endswith("data.pkl"):
                with new.open(name, "w", force_zip64=True) as part:
                    for piece in structure:
                        part.write(piece)
            else:
                new.writestr(name, data)
    return path


READING = """
import sys
from pathlib import Path
from vcm.core.errors import VcmError
from vcm.packs.tensors.checkpoints import read_checkpoint
try:
    print(sorted(read_checkpoint(Path(sys.argv[1]))))
except VcmError as error:
    print(error.code.value, error.sentence)
"""


def test_a_structure_of_gigabytes_in_a_small_archive_is_refused(tmp_path):
    path = archive(tmp_path / "a.pt", compression=zipfile.ZIP_DEFLATED, structure=[bytes(1 << 20)] * 200)
    assert path.stat().st_size < 1e6
    with pytest.raises(VcmError, match="PyTorch packs none") as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.sentence


def test_a_structure_far_larger_than_names_take_is_refused(tmp_path):
    path = archive(tmp_path / "a.pt", compression=zipfile.ZIP_STORED, structure=[bytes(1 << 20)] * 17)
    with pytest.raises(VcmError, match=r"data\.pkl"):
        read_checkpoint(path)


def test_one_changed_bit_in_a_published_checkpoint_is_noticed(tmp_path):
    path = tmp_path / "a.pt"
    weight = torch.randn(100)
    torch.save({"weight": weight}, path)
    whole = bytearray(path.read_bytes())
    whole[whole.index(weight.numpy().tobytes()) + 17] ^= 4
    path.write_bytes(whole)
    with pytest.raises(VcmError, match="checksum"):
        read_checkpoint(path)


def test_a_legacy_file_that_promises_gigabytes_costs_none(tmp_path):
    path = tmp_path / "a.pt"
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(77)}, buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    # The number of values, as the pickle's one-byte and as its four-byte integer.
    for old, new in ((b"K\x4d", b"J\xff\xff\xff\x3f"),):
        data = data.replace(old, new)
    path.write_bytes(data)
    out, most = outside(READING, path)
    assert out.split()[0] in ("FILE_UNREADABLE", "PACK_INVALID", "OUT_OF_MEMORY"), out
    assert most < 800e6
