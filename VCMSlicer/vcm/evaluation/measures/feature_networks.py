"""Networks that the usual distances between images look through, from files on the user's disk, never from the net.

`inception` and `lpips` are TorchScript; `medicalnet` is TorchScript or the published weights of a MedicalNet ResNet.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vcm.anatomy.brain_hole import FAINT
from vcm.core.errors import Code, VcmError
from vcm.core.hashing import hash_file
from vcm.core.reading import missing_as, refuse_unordinary
from vcm.core.volume import Volume
from vcm.packs.tensors.checkpoints import read_checkpoint
from vcm.reporting.planes import facing_viewer

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
"""The array axis that a plane's slices follow one another along, once an image faces the viewer."""

SIDE = 299
"""Pixels that a slice is brought to for Inception and LPIPS."""

WANTED: dict[str, tuple[tuple[str, ...], str]] = {
    "inception": (tuple(f"fid_2d_{plane}" for plane in ("axial", "coronal", "sagittal")), "Inception v3"),
    "medicalnet": (("fid_3d",), "a MedicalNet ResNet"),
    "lpips": (("lpips",), "LPIPS"),
}
"""What each network measures, and its name in words."""


def why_not(name: str) -> str:
    """What a measure says whose network was not given."""
    return f"not measured: needs the weights of {WANTED[name][1]}, which you download; give --features {name}=FILE"


@dataclass(frozen=True, eq=False)
class FeatureNetworks:
    """The networks given, by name, on a device, and the SHA-256 of their files."""

    networks: Mapping[str, nn.Module]
    hashes: Mapping[str, str]
    device: torch.device

    @classmethod
    def open(cls, files: Mapping[str, Path], device: torch.device | str = "cpu") -> FeatureNetworks:
        """Load each file; what is no such network is refused in a sentence."""
        for name in files:
            if name not in WANTED:
                raise VcmError(Code.BAD_REQUEST, f"--features knows {', '.join(WANTED)}; {name!r} was given.")
        networks = {name: _load(name, path).eval().to(device) for name, path in files.items()}
        return cls(networks, {name: hash_file(path) for name, path in files.items()}, torch.device(device))

    @property
    def sees_sets(self) -> bool:
        """Whether any network turns images into features."""
        return bool({"inception", "medicalnet"} & set(self.networks))

    @torch.inference_mode()
    def features(self, volume: Volume) -> dict[str, NDArray[np.float32]]:
        """`{measure: [n, d]}` of one image in 0–1: a vector a slice in 2D, one for the volume in 3D."""
        image = facing_viewer(volume).array
        found: dict[str, NDArray[np.float32]] = {}
        if "inception" in self.networks:
            for plane, axis in AXES.items():
                seen = [self._inception(part) for part in slices(image, axis).split(16)]
                found[f"fid_2d_{plane}"] = torch.cat(seen).numpy()
        if "medicalnet" in self.networks:
            found["fid_3d"] = self._medicalnet(image).numpy()
        return found

    @torch.inference_mode()
    def lpips(self, image: Volume, reference: Volume) -> float | None:
        """The mean over slices of three planes; None without the network."""
        network = self.networks.get("lpips")
        if network is None:
            return None
        values = []
        ours, theirs = facing_viewer(image).array, facing_viewer(reference).array
        for axis in AXES.values():
            pairs = zip(slices(ours, axis).split(16), slices(theirs, axis).split(16), strict=True)
            for a, b in pairs:
                values.append(network(*(part.to(self.device) * 2 - 1 for part in (a, b))).float().flatten().cpu())
        return float(torch.cat(values).mean())

    def _inception(self, part: Tensor) -> Tensor:
        network = self.networks["inception"]
        given = (part * 255).round().to(torch.uint8).to(self.device)
        # NVIDIA's published TorchScript gives class scores by default.
        options = {"return_features": True} if "return_features" in _arguments(network) else {}
        return _pooled(network(given, **options))

    def _medicalnet(self, image: NDArray[Any]) -> Tensor:
        array = torch.from_numpy(np.ascontiguousarray(np.clip(image, 0, 1), dtype=np.float32))
        inside = array[array > FAINT]
        # As MedicalNet was trained: zero mean and unit variance over what is not background. Decoded images have faint
        # noise of either sign there, scans have zeros.
        if inside.numel() > 1 and float(inside.std()) > 0:
            array = (array - inside.mean()) / inside.std()
        return _pooled(self.networks["medicalnet"](array[None, None].to(self.device)))


def slices(image: NDArray[Any], axis: int) -> Tensor:
    """Every second slice of the middle three quarters along an axis, as `[n, 3, SIDE, SIDE]` in 0–1."""
    count = image.shape[axis]
    chosen = range(count // 8, count - count // 8, 2)
    planes = np.moveaxis(np.clip(image, 0, 1).astype(np.float32), axis, 0)[list(chosen)]
    large = functional.interpolate(torch.from_numpy(planes)[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)
    return large.clamp(0, 1).expand(-1, 3, -1, -1)


def _load(name: str, path: Path) -> nn.Module:
    with missing_as(f"There is no file {path} for --features {name}."):
        refuse_unordinary(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.jit.load(str(path), map_location="cpu")
        except RuntimeError:
            pass
        if name != "medicalnet":
            raise _refused(name, path, "it is not TorchScript")
    try:
        return _medicalnet(path, read_checkpoint(path))
    except VcmError as error:
        raise _refused(name, path, f"it is neither TorchScript nor plain weights. {error.sentence}") from error


def _refused(name: str, path: Path, reason: str) -> VcmError:
    return VcmError(
        Code.FILE_UNREADABLE,
        f"{path} cannot be used for {WANTED[name][1]}: {reason}.",
        "See docs/evaluation.md for the files and how to make them.",
    )


RESNETS: dict[tuple[bool, tuple[int, ...]], int] = {
    (False, (1, 1, 1, 1)): 10,
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
}
"""Depth of a ResNet by whether its blocks have a bottleneck, and their number in each layer."""


def _medicalnet(path: Path, state: Mapping[str, Any]) -> nn.Module:
    from monai.networks.nets import resnet
    from monai.networks.nets.resnet import get_medicalnet_pretrained_resnet_args

    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    weights = {name: t for name, t in plain.items() if not name.startswith(("conv_seg.", "fc."))}
    blocks = tuple(len(set(_blocks(weights, layer))) for layer in (1, 2, 3, 4))
    depth = RESNETS.get((any(".conv3." in name for name in weights), blocks))
    if depth is None:
        raise _refused("medicalnet", path, "its weights are not those of a ResNet of 10, 18, 34, 50 or 101 layers")
    bias, shortcut = get_medicalnet_pretrained_resnet_args(depth)
    network: nn.Module = getattr(resnet, f"resnet{depth}")(
        spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type=shortcut, bias_downsample=bias
    )
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise _refused("medicalnet", path, f"its weights do not fit a ResNet of {depth} layers") from error
    return network


def _blocks(weights: Iterable[str], layer: int) -> Iterable[str]:
    return (name.split(".")[1] for name in weights if name.startswith(f"layer{layer}."))


def _arguments(network: nn.Module) -> list[str]:
    schema = getattr(getattr(network, "forward", None), "schema", None)
    return [argument.name for argument in schema.arguments] if schema else []


def _pooled(features: Tensor) -> Tensor:
    """Feature maps averaged over space: `[n, d]` in fp32 on the CPU."""
    return features.float().flatten(2).mean(2).cpu() if features.ndim > 2 else features.float().cpu()
