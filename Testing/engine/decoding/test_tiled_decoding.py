"""Large latents are decoded in tiles that fade into each other."""

from __future__ import annotations

import itertools

import pytest
import torch
from vcm.models.backbones.meddiffusion import decoding
from vcm.models.backbones.meddiffusion.decoding import decode_tiled, largest_tile


class Blocks:
    """A decoder that repeats each voxel four times along each axis, brighter by one with each tile it is asked for."""

    downsample = 4

    def __init__(self, brighter: float = 0.0) -> None:
        self.brighter, self.asked = brighter, []

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        self.asked.append(tuple(codes.shape[2:]))
        image = codes[:, :1]
        for axis in (2, 3, 4):
            image = image.repeat_interleave(4, dim=axis)
        return image + self.brighter * (len(self.asked) - 1)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(decoding, "WHOLE_EDGE", 32)
    monkeypatch.setattr(decoding, "OVERLAP", 8)


def test_what_fits_is_decoded_whole():
    network, codes = Blocks(), torch.rand(2, 3, 8, 4, 16)  # as many voxels as 8 × 8 × 8
    decode_tiled(network, codes)
    assert network.asked == [(8, 4, 16)] and largest_tile(network, (8, 4, 16)) == (8, 4, 16)


def test_every_voxel_has_its_place_in_every_tile():
    network, codes = Blocks(), torch.rand(2, 3, 9, 6, 21)
    image = decode_tiled(network, codes)
    assert image.shape == (2, 1, 36, 24, 84) and len(network.asked) == 2 * 1 * 4
    assert set(network.asked) == {(8, 6, 8)}
    assert torch.allclose(image, Blocks().decode(codes), atol=1e-6)


def test_neighbouring_tiles_fade_into_each_other():
    image = decode_tiled(Blocks(brighter=1.0), torch.zeros(1, 1, 8, 8, 20))[0, 0]
    line = image[5, 7]
    assert float(line[0]) == 0 and float(line[-1]) == 2
    assert torch.equal(line, image[30, 0])
    steps = line.diff()
    assert float(steps.min()) >= -1e-6 and float(steps.max()) <= 1 / 8 + 1e-6


def test_sides_of_512_voxels_are_covered_by_tiles_of_256_that_share_64(monkeypatch):
    monkeypatch.undo()
    for factor in (4, 8):
        starts = decoding._starts(512 // factor, 256 // factor, 64 // factor)
        assert starts[0] == 0 and starts[-1] + 256 // factor == 512 // factor
        assert all(b - a <= (256 - 64) // factor for a, b in itertools.pairwise(starts))
