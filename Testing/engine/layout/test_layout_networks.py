"""The networks of a layout against a plain way to the same numbers."""

from __future__ import annotations

import pytest
import tiny
import tiny_layout
import torch
from torch.nn import functional
from vcm.core.errors import VcmError
from vcm.models.layout.block_embedding import BlockEmbedding
from vcm.models.layout.layout import Layout, latent_sizes
from vcm.packs.manifest_reading import parse_manifest


def as_kernel(embedding):
    """The embedding as a convolution's `[width, entries, 4, 4, 4]`: the places of a block are those of two foldings."""
    width = embedding.weight.shape[2]
    kernel = torch.empty(width, embedding.weight.shape[1], 4, 4, 4)
    for i in range(4):
        for j in range(4):
            for k in range(4):
                first, second = (i % 2, j % 2, k % 2), (i // 2, j // 2, k // 2)
                place = 8 * (4 * first[0] + 2 * first[1] + first[2]) + 4 * second[0] + 2 * second[1] + second[2]
                kernel[:, :, i, j, k] = embedding.weight[place].T
    return kernel


def test_an_embedding_of_blocks_is_a_convolution_of_one_hot_planes():
    torch.manual_seed(1)
    embedding = BlockEmbedding(5, 7)
    codes = torch.randint(0, 5, (2, 8, 12, 16))
    planes = functional.one_hot(codes, 5).movedim(-1, 1).float()
    expected = functional.conv3d(planes, as_kernel(embedding), embedding.bias, stride=4)
    assert torch.allclose(embedding(codes), expected, atol=1e-5)


def test_codes_may_stand_for_sets_that_differ_from_item_to_item():
    torch.manual_seed(2)
    embedding = BlockEmbedding(5, 7)
    codes = torch.randint(0, 3, (2, 8, 12, 16))
    meanings = (torch.rand(2, 3, 5) > 0.5).float()
    planes = torch.stack([table[one] for table, one in zip(meanings, codes, strict=True)]).movedim(-1, 1)
    expected = functional.conv3d(planes, as_kernel(embedding), embedding.bias, stride=4)
    assert torch.allclose(embedding(codes, meanings), expected, atol=1e-5)


@pytest.mark.parametrize("sets", [False, True])
def test_an_embeddings_gradient_is_that_of_the_convolution(sets):
    torch.manual_seed(4)
    embedding = BlockEmbedding(5, 7)
    codes = torch.randint(0, 3, (2, 8, 12, 16))
    meanings = (torch.rand(2, 3, 5) > 0.5).float() if sets else None
    planes = functional.one_hot(codes, 5).float() if meanings is None else torch.stack(
        [table[one] for table, one in zip(meanings, codes, strict=True)]
    )  # fmt: skip
    weights = torch.randn(2, 7, 2, 3, 4)
    plain = functional.conv3d(planes.movedim(-1, 1), as_kernel(embedding), embedding.bias, stride=4)
    expected = torch.autograd.grad((plain * weights).sum(), [embedding.weight, embedding.bias])
    found = torch.autograd.grad((embedding(codes, meanings) * weights).sum(), [embedding.weight, embedding.bias])
    for ours, theirs in zip(found, expected, strict=True):
        assert float(theirs.abs().max()) > 1 and torch.allclose(ours, theirs, atol=1e-4)


def test_latents_keep_the_order_of_axes(tmp_path):
    """A label changed in one corner moves the latent there, and the scores there again."""
    layout, _ = tiny_layout.load(tmp_path)
    before = torch.zeros(1, *tiny.GRID.shape, dtype=torch.long)
    after = before.clone()
    after[0, 1, 21, 30] = 4
    with torch.no_grad():
        moved = (layout.autoencoder.encode(after) - layout.autoencoder.encode(before)).abs().sum((0, 1))
        assert tuple(int(n) for n in torch.unravel_index(moved.argmax(), moved.shape)) == (0, 5, 7)
        latent = torch.zeros(1, *layout.autoencoder.encode(before).shape[1:])
        other = latent.clone()
        other[0, :, 0, 5, 7] = 3
        scores = (layout.autoencoder.decode(other) - layout.autoencoder.decode(latent)).abs().sum((0, 1))
    place = torch.unravel_index(scores.argmax(), scores.shape)
    assert max(abs(int(n) // 4 - block) for n, block in zip(place, (0, 5, 7), strict=True)) <= 1


def test_only_known_attributes_act(tmp_path):
    layout, _ = tiny_layout.load(tmp_path)
    latent = torch.randn(1, *(3, 4, 6, 8), generator=torch.Generator().manual_seed(3))
    seen = layout.denoiser.see(torch.zeros(1, *tiny.GRID.shape, dtype=torch.long), torch.ones(1, 1, tiny_layout.LABELS))
    with torch.no_grad():
        answers = [
            layout.predict(latent, 500.0, seen, torch.tensor([values])).value
            for values in ([torch.nan] * 4, [0.0] * 4, [0.5, torch.nan, torch.nan, torch.nan])
        ]
    assert all(torch.isfinite(answer).all() for answer in answers)
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_a_grid_that_cannot_be_divided_is_refused():
    assert latent_sizes((88, 112, 88)) == [22, 28, 22]
    with pytest.raises(VcmError, match=r"multiples of 4, not \(80, 102, 80\)"):
        latent_sizes((80, 102, 80))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": [{"value": 2, "name": "a"}]}, "values 1, 2, 3"),
        ({"schedule": {"timesteps": 1000, "kind": "flow", "prediction": "velocity"}}, "variance-preserving"),
        ({"backbones": []}, "backbones"),
        ({"attributes": [{"name": "age", "title": "Age"}] * 2}, "age stands twice"),
    ],
)
def test_a_manifest_that_does_not_fit_together_is_refused(tmp_path, change, words):
    files = {
        role: {"path": f"{role}.safetensors", "sha256": "0" * 64, "size": 1} for role in ("autoencoder", "denoiser")
    }
    with pytest.raises(VcmError, match=words):
        parse_manifest({**tiny_layout.manifest_of("tiny-layout"), "files": files, **change}, tmp_path)


def test_latent_sizes_that_are_no_quarter_of_the_grid_are_refused(tmp_path):
    pack = tiny_layout.write_layout(tmp_path / "tiny-layout")
    object.__setattr__(pack.manifest, "latent_shape", (3, 4, 6, 7))
    with pytest.raises(VcmError, match="not a quarter"):
        Layout.load(pack)
