"""Published checkpoints, read without ever running what they carry, and weights written as safetensors."""

from __future__ import annotations

import math
import pickletools
import re
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.core.errors import Code, VcmError
from vcm.core.plain_text import plain
from vcm.core.reading import open_ordinary
from vcm.outputs.atomic_files import atomic_path
from vcm.packs.tensors.eight_bits import decode

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("ema", "state_dict", "model", "unet_state_dict", "controlnet_state_dict")
_METADATA = ("TraceKeys", "MetaKeys", "SpaceKeys", "LazyAttr")
_SETTINGS = re.compile(
    r"argparse\.Namespace|typing\.Any|collections\.(defaultdict|OrderedDict)|pathlib\.\w*Path"
    r"|(builtins|__builtin__)\.(dict|list|tuple|set|int|float|str|bool|object)|(omegaconf|(pytorch_)?lightning)\.[\w.]+"
)
"""Of what settings are made that trainers keep beside the weights."""
_CALLS = ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "REDUCE")
_EXPECTED = "a PyTorch checkpoint (.pt, .pth) or a .safetensors file was expected"
MOST_STRUCTURE = 16_000_000
"""Bytes of an archive's pickle, which holds names and shapes; BrainLDM's has 200,000."""

_DOWNLOAD_AGAIN = "Download the file again from its source."


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a published file holds: named tensors on the CPU, and the single numbers that stand beside them."""

    path: Path
    tensors: Mapping[str, torch.Tensor]
    numbers: Mapping[str, float]


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a `.pt`, `.pth` or `.safetensors` file, on the CPU.

    One wrapping `state_dict` or the like is taken off (averaged weights, `ema`, where there are such), and the prefix
    `module.` where every name has it. Only tensors and plain containers are ever unpickled, and settings beside them
    passed over; a file that asks for anything else is refused before any of it runs.
    """
    return dict(read_published(path).tensors)


def read_published(path: Path) -> Checkpoint:
    """A file's named tensors, as `read_checkpoint` has them, and the numbers beside what wraps them."""
    import torch

    content = _load(path, _container(path))
    if not isinstance(content, Mapping):
        raise _invalid(path, f"it holds {_kind(content)} instead of named tensors")
    numbers: dict[str, float] = {}
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            numbers = _numbers(content)
            content = content[wrapper]
            break
    if not content:
        raise _invalid(path, "it holds no tensors")
    for name, value in content.items():
        _check_tensor(path, name, value)
    state = {name: value.detach().as_subclass(torch.Tensor) for name, value in content.items()}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return Checkpoint(path, state, numbers)


def write_weights(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as they are to a `.safetensors` file, which appears whole or not at all."""
    from safetensors.torch import save_file

    with atomic_path(path) as half:
        save_file(_separate(state), half)


def not_finite(state: Mapping[str, torch.Tensor]) -> str:
    """The name of the first tensor that holds NaN or infinities; empty where none does."""
    return next((name for name, value in state.items() if not _is_finite(value)), "")


def _is_finite(value: torch.Tensor) -> bool:
    import torch

    numbers = torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
    if not numbers.is_floating_point() or not numbers.numel():
        return True
    # The least and the largest tell of both, and take no memory beside the tensor's. Floats of one byte have neither.
    ends = torch.aminmax(numbers.float() if numbers.element_size() == 1 else numbers)
    return math.isfinite(float(ends.min)) and math.isfinite(float(ends.max))


def _numbers(content: Mapping[Any, Any]) -> dict[str, float]:
    """The entries that are one number, as tensors or plain."""
    import torch

    found = {}
    for name, value in content.items():
        one = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
        if isinstance(name, str) and isinstance(one, (int, float)) and not isinstance(one, bool):
            found[name] = float(one)
    return found


def _container(path: Path) -> str:
    """How the file is packed, judged by its content: `zip`, `pickle` or `safetensors`."""
    if not path.exists():
        raise VcmError(Code.FILE_MISSING, f"There is no file {path}.", "Check the path.")
    if path.is_dir():
        raise VcmError(Code.FILE_UNREADABLE, f"{path} is no file: {_EXPECTED}.")
    with open_ordinary(path) as stream:
        start = stream.read(512)
    if not start:
        raise VcmError(Code.FILE_UNREADABLE, f"{path} is empty: {_EXPECTED}.", _DOWNLOAD_AGAIN)
    if start.lstrip()[:1] == b"<":
        raise VcmError(
            Code.FILE_UNREADABLE,
            f"{path} is a web page, not a model: the server sent a page instead of the file.",
            "Open the address in a browser, download the file there and give it here.",
        )
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return "safetensors"
    # torch.load unpickles a tar archive without its guard in versions before 2.6.
    if start[:1] == b"\x80" and not tarfile.is_tarfile(path):
        return "pickle"
    raise VcmError(Code.FILE_UNREADABLE, f"{path} is no model: {_EXPECTED}.", "Check which file was meant.")


def _load(path: Path, container: str) -> Any:
    import torch
    from safetensors.torch import load_file

    try:
        if container == "safetensors":
            return _decoded(path, load_file(path, device="cpu"))
        if container == "zip":
            _check_sums(path)
        known = [*_stand_ins(), *(_settings(path) if container == "zip" else ())]
        with warnings.catch_warnings(), torch.serialization.safe_globals(known):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=container == "zip")
    except VcmError:
        raise
    except MemoryError as error:
        raise VcmError(Code.OUT_OF_MEMORY, f"There is too little memory to read {path}.") from error
    # Whatever a damaged file sets off inside the readers (they document none of it) means the same to the user.
    except Exception as error:
        if what := _code_asked_for(path, str(error)):
            raise VcmError(
                Code.PACK_UNSAFE,
                f"{path} carries program code, not only weights: it asks for {what}. It was refused unopened.",
                "Use the model's state dict or .safetensors file, from a source you trust.",
            ) from error
        raise _damaged(path, f"it breaks off within its {path.stat().st_size:,} bytes") from error


def _decoded(path: Path, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    try:
        return decode(state)
    except ValueError as error:
        raise _invalid(path, plain(str(error))) from error


def _stand_ins() -> list[Any]:
    """What MONAI's own tensors are read as: plain tensors, with the words of their metadata. None of its code runs.

    Its training scripts leave such a tensor beside the weights where they took a number from an image.
    """
    import torch

    words = [(str, f"monai.utils.enums.{name}") for name in _METADATA]
    return [(torch.Tensor, "monai.data.meta_tensor.MetaTensor"), *words]


class _Ignored:
    """What settings beside the weights are read as: it takes anything and keeps nothing. No code of theirs runs."""

    def __new__(cls, *_: object, **__: object) -> _Ignored:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, value: object) -> None: ...

    def extend(self, values: object) -> None: ...

    def add(self, value: object) -> None: ...


def _settings(path: Path) -> list[Any]:
    """Stand-ins for the settings in a file: OmegaConf's, Lightning's and argparse's; for nothing else."""
    import torch

    asked = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return [(type("_Ignored", (_Ignored,), {}), name) for name in asked if _SETTINGS.fullmatch(name)]


def _check_sums(path: Path) -> None:
    """PyTorch never looks at the checksums in its own archives; a flipped bit would become a wrong weight."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _refuse_packed(path, archive.infolist())
            wrong = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise _damaged(path, f"it breaks off within its {path.stat().st_size:,} bytes") from error
    if wrong:
        raise _damaged(path, f"the checksum of its part {wrong} is wrong")
    if not any(name.endswith("data.pkl") for name in names):
        raise VcmError(Code.FILE_UNREADABLE, f"{path} is a zip archive without a model: {_EXPECTED}.")


def _refuse_packed(path: Path, parts: Sequence[zipfile.ZipInfo]) -> None:
    """PyTorch packs nothing in its archives: whatever unpacks to more than is there was made to do harm."""
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise _damaged(path, "its parts would unpack to more than it holds, and PyTorch packs none")
    for part in parts:
        if part.filename.endswith(".pkl") and part.file_size > MOST_STRUCTURE:
            raise _damaged(
                path, f"its part {part.filename} has {part.file_size:,} bytes, far more than the names of tensors take"
            )


def _code_asked_for(path: Path, complaint: str) -> str:
    """Which program code a refused checkpoint wanted to run; empty if it is merely broken."""
    if "TorchScript" in complaint:
        return "a TorchScript program"
    if named := re.search(r"GLOBAL ([\w.]+\.\w+)", complaint):
        return named[1]
    try:
        with open_ordinary(path) as stream:
            calls = any(operation.name in _CALLS for operation, _, _ in pickletools.genops(stream))
    except Exception:  # no pickle at all
        return ""
    return "more than tensors" if calls else ""


def _check_tensor(path: Path, name: Any, value: Any) -> None:
    import torch

    if not isinstance(name, str):
        raise _invalid(path, f"one of its tensors is named {name!r}, which is no text")
    if not isinstance(value, torch.Tensor):
        raise _invalid(path, f"“{name}” is {_kind(value)}, not a tensor")
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        raise _invalid(path, f"“{name}” is no plain dense tensor")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise _invalid(path, f"“{name}” claims {value.numel():,} values, more than are stored for it")
    if not_finite({name: value}):
        raise _invalid(path, f"the tensor “{name}” holds values that are not numbers (NaN or infinite)")


def _separate(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors that share no memory, as safetensors wants them; only those that do are copied."""
    seen: set[int] = set()
    apart = {}
    for name, value in state.items():
        tensor = value.detach().contiguous()
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        if not whole or tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor
    return apart


def _damaged(path: Path, how: str) -> VcmError:
    return VcmError(Code.FILE_UNREADABLE, f"{path} is damaged or cut short: {how}.", _DOWNLOAD_AGAIN)


def _invalid(path: Path, reason: str) -> VcmError:
    return VcmError(Code.PACK_INVALID, f"{path} cannot be used as weights: {reason}.", "Check which file was meant.")


def _kind(value: Any) -> str:
    return {"Tensor": "one nameless tensor", "NoneType": "nothing"}.get(name := type(value).__name__, f"a {name}")
