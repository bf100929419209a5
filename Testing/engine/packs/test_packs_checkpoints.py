"""Published checkpoints are read without running them; every other file ends in a sentence."""

from __future__ import annotations

import argparse
import os
import pickle
import resource
import subprocess
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict

import pytest
import torch
from faults import names
from safetensors.torch import load_file
from vcm.core.errors import Code, VcmError
from vcm.packs.tensors.checkpoints import read_checkpoint, write_weights


class Payload:
    """What a malicious checkpoint does when it is unpickled: it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def state():
    return OrderedDict(first=torch.arange(12.0).reshape(3, 4), second=torch.tensor([1, -2, 3]))


def refusal(path):
    with pytest.raises(VcmError) as caught:
        read_checkpoint(path)
    assert str(path) in caught.value.sentence
    return caught.value


@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
def test_every_published_layout_gives_the_same_tensors(tmp_path, layout):
    path = tmp_path / ("weights.safetensors" if layout == "safetensors" else "weights.pth")
    if layout == "safetensors":
        write_weights(path, state())
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=layout == "zip")
    found = read_checkpoint(path)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in state().items()
    }


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_wrapping_dictionary_and_a_common_prefix_are_taken_off(tmp_path, wrapper):
    prefixed = {f"module.{name}": torch.nn.Parameter(tensor.float()) for name, tensor in state().items()}
    torch.save({"epoch": 3500, wrapper: prefixed}, tmp_path / "vcm.pt")
    found = read_checkpoint(tmp_path / "vcm.pt")
    assert list(found) == ["first", "second"]
    assert not any(tensor.requires_grad for tensor in found.values())


def test_a_prefix_that_not_all_names_have_stays(tmp_path):
    torch.save({"module.a": torch.ones(2), "b": torch.ones(3)}, tmp_path / "half.pt")
    assert list(read_checkpoint(tmp_path / "half.pt")) == ["module.a", "b"]


@pytest.mark.parametrize("layout", ["zip", "legacy", "bare"])
def test_a_pickle_that_carries_code_is_refused_and_never_runs(tmp_path, layout):
    victim, path = tmp_path / "ran", tmp_path / "weights.pt"
    payload = {"first": torch.zeros(2), "second": Payload(victim)}
    if layout == "bare":
        path.write_bytes(pickle.dumps(Payload(victim)))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=layout == "zip")
    error = refusal(path)
    assert error.code is Code.PACK_UNSAFE
    assert not victim.exists()
    torch.load(path, weights_only=False) if layout != "bare" else pickle.loads(path.read_bytes())
    assert victim.exists(), "the payload must work, or this test proves nothing"


def test_a_tar_archive_is_not_even_handed_to_torch(tmp_path):
    path = tmp_path / "old.pt"
    with tarfile.open(path, "w") as archive:
        (tmp_path / "pickle").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
        archive.add(tmp_path / "pickle", "pickle")
    assert refusal(path).code is Code.FILE_UNREADABLE
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_told_apart_from_weights(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "module.pth")
    error = refusal(tmp_path / "module.pth")
    assert error.code is Code.PACK_UNSAFE
    assert "torch.nn.modules.linear.Linear" in error.sentence


@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.15, 0.5, 0.98])
def test_a_truncated_file_is_called_damaged(tmp_path, layout, kept):
    path = tmp_path / ("weights.safetensors" if layout == "safetensors" else "weights.pth")
    if layout == "safetensors":
        write_weights(path, state())
    else:
        torch.save(state(), path, _use_new_zipfile_serialization=layout == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    error = refusal(path)
    assert error.code is Code.FILE_UNREADABLE
    assert "damaged or cut short" in error.sentence


def test_one_flipped_bit_among_the_weights_is_noticed(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.full((64,), 1.5)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((8,), 1.5).numpy().tobytes()) + 5] ^= 0x10
    path.write_bytes(content)
    assert "checksum" in refusal(path).sentence


def test_a_page_that_was_saved_instead_of_the_file_is_recognised(tmp_path):
    (tmp_path / "model.pt").write_text("\n<!DOCTYPE html><title>Google Drive - Virus scan warning</title>")
    assert "web page" in refusal(tmp_path / "model.pt").sentence


@pytest.mark.parametrize(("content", "says"), [(b"", "is empty"), (b"just words", "is no model"), (b"\x80", "damaged")])
def test_other_files_are_told_by_what_they_are(tmp_path, content, says):
    (tmp_path / "model.pt").write_bytes(content)
    error = refusal(tmp_path / "model.pt")
    assert error.code is Code.FILE_UNREADABLE
    assert says in error.sentence


def test_a_zip_without_a_model_and_a_folder_and_nothing_at_all_are_told_apart(tmp_path):
    with zipfile.ZipFile(tmp_path / "slides.pt", "w") as archive:
        archive.writestr("slide.xml", "x")
    assert "zip archive without a model" in refusal(tmp_path / "slides.pt").sentence
    (tmp_path / "folder.pt").mkdir()
    assert "is no file" in refusal(tmp_path / "folder.pt").sentence
    assert refusal(tmp_path / "missing.pt").code is Code.FILE_MISSING


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"good": torch.ones(3), "bad.weight": torch.tensor([1.0, float("nan")])}, "“bad.weight” holds values"),
        ({"bad.weight": torch.tensor([[1.0], [float("inf")]])}, "“bad.weight” holds values"),
        ({"weight": torch.zeros(1).expand(10**6, 10**9)}, "more than are stored"),
        ({"weight": torch.eye(3).to_sparse()}, "no plain dense tensor"),
        ({"weight": torch.ones(3), "epoch": 5}, "“epoch” is a int"),
        ({7: torch.ones(3)}, "named 7"),
        (torch.ones(3), "one nameless tensor"),
        ([torch.ones(3)], "a list"),
        ({}, "no tensors"),
    ],
)
def test_what_cannot_be_weights_is_named(tmp_path, content, says):
    torch.save(content, tmp_path / "weights.pt")
    error = refusal(tmp_path / "weights.pt")
    assert error.code is Code.PACK_INVALID
    assert says in error.sentence


def test_tensors_that_share_memory_are_written_as_they_look(tmp_path):
    shared = torch.arange(20.0).reshape(4, 5)
    tensors = {"whole": shared, "again": shared, "part": shared[1:3], "turned": shared.t()}
    write_weights(tmp_path / "weights.safetensors", tensors)
    found = load_file(tmp_path / "weights.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in tensors.items()
    }


def test_half_precision_stays_half_precision(tmp_path):
    write_weights(tmp_path / "weights.safetensors", {"weight": torch.ones(3, dtype=torch.float16)})
    assert load_file(tmp_path / "weights.safetensors")["weight"].dtype is torch.float16


def test_a_full_disk_leaves_the_old_weights_and_nothing_half_written(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_weights(path, {"weight": torch.ones(5)})
    before = path.read_bytes()
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from vcm.core.errors import VcmError\n"
        "from vcm.packs.tensors.checkpoints import write_weights\n"
        "try:\n"
        "    write_weights(Path(sys.argv[1]), {'weight': torch.ones(1 << 20)})\n"
        "except VcmError as error:\n"
        "    print(error.code.value)\n"
    )
    limit = 1 << 20
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        check=False,
    )
    assert result.stdout.strip() == "DISK_FULL", result.stderr
    assert path.read_bytes() == before
    assert names(tmp_path) == ["weights.safetensors"]


def test_settings_beside_the_weights_are_passed_over_but_nothing_else_is(tmp_path):
    """As Lightning, OmegaConf and argparse leave them; the classes are made up here, so that no package is needed."""
    module = types.ModuleType("omegaconf.dictconfig")
    kind = type("DictConfig", (), {"__module__": "omegaconf.dictconfig", "__qualname__": "DictConfig"})
    module.DictConfig = kind
    config = kind()
    config.content = {"lr": 1e-3, "inner": [kind()]}
    sys.modules |= {"omegaconf": types.ModuleType("omegaconf"), "omegaconf.dictconfig": module}
    try:
        beside = {"hyper_parameters": {"cfg": config}, "args": argparse.Namespace(seed=1), "epoch": 3}
        torch.save({"state_dict": {"w": torch.ones(2)}, **beside}, tmp_path / "settings.ckpt")
        evil = {"state_dict": {"w": torch.ones(2)}, **beside, "more": Payload(tmp_path / "ran")}
        torch.save(evil, tmp_path / "evil.ckpt")
        torch.save({**evil, "more": types.SimpleNamespace(a=1)}, tmp_path / "foreign.ckpt")
    finally:
        del sys.modules["omegaconf"], sys.modules["omegaconf.dictconfig"]
    assert torch.equal(read_checkpoint(tmp_path / "settings.ckpt")["w"], torch.ones(2))
    for name in ("evil.ckpt", "foreign.ckpt"):
        assert refusal(tmp_path / name).code is Code.PACK_UNSAFE and not (tmp_path / "ran").exists()


def test_averaged_weights_are_taken_where_a_file_has_both(tmp_path):
    torch.save({"model": {"w": torch.zeros(2)}, "ema": {"w": torch.ones(2)}}, tmp_path / "both.pt")
    assert torch.equal(read_checkpoint(tmp_path / "both.pt")["w"], torch.ones(2))


def test_a_number_that_monai_left_as_a_tensor_of_its_own_is_read_without_monai(tmp_path):
    """As NVIDIA's training script leaves it, from an image that MONAI has loaded and transformed."""
    import subprocess
    import sys

    from monai.data import MetaTensor
    from monai.utils.enums import TraceKeys

    image = MetaTensor(torch.full((1, 2, 2, 2), 0.75), affine=torch.eye(4))
    image.applied_operations.append({TraceKeys.CLASS_NAME: "Resize", TraceKeys.ORIG_SIZE: (2, 2, 2)})
    torch.save({"epoch": 3, "scale_factor": image.mean(), "unet_state_dict": {"a": torch.ones(2)}}, tmp_path / "m.pt")
    read = (
        "import sys; from pathlib import Path; from vcm.packs.tensors.checkpoints import read_published\n"
        "found = read_published(Path(sys.argv[1]))\n"
        "print(found.numbers, type(found.tensors['a']).__name__, 'monai' in sys.modules)"
    )
    command = [sys.executable, "-c", read, str(tmp_path / "m.pt")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "{'epoch': 3.0, 'scale_factor': 0.75} Tensor False", ended.stderr
