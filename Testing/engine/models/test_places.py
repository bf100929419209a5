"""Where a pack's segmenter may find its structures: read voxel by voxel, and refused where it does not fit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vcm.anatomy.usual_places import usual_places
from vcm.core.errors import Code, VcmError
from vcm.models import segmenter

SHAPE = (9, 12, 17)
CELLS = (3, 3, 5)
CLASSES = (SimpleNamespace(value=2), SimpleNamespace(value=4))
PACK = SimpleNamespace(
    name="foreign",
    backbone=SimpleNamespace(
        files={"segmenter", "places"}, grid=SimpleNamespace(shape=SHAPE), segmenter_classes=CLASSES
    ),
)


def test_each_voxel_has_the_labels_of_its_cell_and_of_those_beside_it(monkeypatch):
    """Against distances in whole cells, on sizes that no cell divides."""
    labels = np.random.default_rng(3).choice([0, 2, 4], size=SHAPE, p=[0.998, 0.001, 0.001]).astype(np.uint8)
    labels[8, 11, 16], labels[0, 5, 2] = 4, 2
    tensors = {"places": torch.from_numpy(usual_places([labels, np.zeros(SHAPE, np.uint8)]))}
    monkeypatch.setattr(segmenter, "open_weights", lambda pack, role: tensors)
    places = segmenter.load_places(PACK).numpy()
    assert places.shape == (5, *SHAPE) and places[0].all() and not places[[1, 3]].any()
    every = np.argwhere(np.ones(SHAPE, bool))
    for label in (2, 4):
        cells = np.argwhere(labels == label) // 4
        near = (np.abs(every[:, None] // 4 - cells[None]).sum(axis=2) <= 1).any(axis=1)
        assert np.array_equal(places[label].ravel(), near)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"other": torch.zeros(CELLS, dtype=torch.int32)},
        {"places": torch.zeros(CELLS)},
        {"places": torch.zeros((3, 5, 3), dtype=torch.int32)},
        {"places": torch.zeros(CELLS, dtype=torch.int32), "more": torch.zeros(1)},
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(monkeypatch, found):
    monkeypatch.setattr(segmenter, "open_weights", lambda pack, role: found)
    with pytest.raises(VcmError, match="places of the pack foreign must be") as refused:
        segmenter.load_places(PACK)
    assert refused.value.code is Code.PACK_INVALID


def test_a_pack_that_does_not_tell_them_has_none():
    assert segmenter.load_places(SimpleNamespace(backbone=SimpleNamespace(files={"segmenter"}))) is None


def test_a_label_beyond_the_bits_is_refused():
    with pytest.raises(ValueError, match="up to 30, not 31"):
        usual_places([np.full((4, 4, 4), 31, np.uint8)])
