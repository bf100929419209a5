"""Stand-ins for the networks that users download: TorchScript and weights of the right make, a few kilobytes small."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from monai.networks.nets import resnet
from monai.networks.nets.resnet import get_medicalnet_pretrained_resnet_args
from torch import Tensor, nn


class Inception(nn.Module):
    """Takes bytes, and gives features only when asked to, as NVIDIA's file does."""

    def forward(self, image: Tensor, return_features: bool = False) -> Tensor:
        assert image.dtype == torch.uint8
        assert image.shape[1] == 3
        x = image.float() / 255
        features = torch.stack([x.mean(dim=(1, 2, 3)), x.std(dim=(1, 2, 3)), x[:, 0, 100, 140]], dim=1)
        return features if return_features else features.sum(dim=1, keepdim=True)


class Lpips(nn.Module):
    """The mean absolute difference of images in −1 to 1."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        assert float(a.min()) >= -1
        return (a - b).abs().mean(dim=(1, 2, 3), keepdim=True) / 2


class Volume3d(nn.Module):
    """Feature maps of a volume."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, image.square(), image.abs()], dim=1)


def script(path: Path, network: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(path))
    return path


def medicalnet(path: Path, depth: int = 10) -> Path:
    """Weights as MedicalNet publishes them: under `state_dict`, each name with DataParallel's prefix."""
    torch.manual_seed(depth)
    bias, shortcut = get_medicalnet_pretrained_resnet_args(depth)
    network = getattr(resnet, f"resnet{depth}")(
        spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type=shortcut, bias_downsample=bias
    )
    torch.save({"state_dict": {f"module.{name}": t for name, t in network.state_dict().items()}}, path)
    return path
