"""The whitening that a pack brings: what does not fit its latent is refused before anything is made with it."""

from types import SimpleNamespace

import pytest
import torch
from vcm.core.errors import Code, VcmError
from vcm.models import weights

SHAPE = (2, 3, 4, 5)
PACK = SimpleNamespace(name="foreign", backbone=SimpleNamespace(latent=SimpleNamespace(shape=SHAPE)))


def held(**shapes):
    return {name: torch.zeros(shape) for name, shape in {"mean": SHAPE, "std": SHAPE, **shapes}.items() if shape}


@pytest.mark.parametrize(("found", "classes"), [(held(), 0), (held(), 3), (held(means=(3, *SHAPE)), 3)])
def test_what_fits_is_read(monkeypatch, found, classes):
    monkeypatch.setattr(weights, "open_weights", lambda pack, role: found)
    assert weights.read_whitening(PACK, classes) is found


@pytest.mark.parametrize(
    ("found", "classes"),
    [
        (held(std=None), 0),
        (held(mean=(2, 3, 5, 4)), 0),
        (held(extra=SHAPE), 0),
        (held(means=(3, *SHAPE)), 0),
        (held(means=(4, *SHAPE)), 3),
        (held(means=(3, 2, 5, 4, 3)), 3),
        (held(extra=SHAPE), 3),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(monkeypatch, found, classes):
    monkeypatch.setattr(weights, "open_weights", lambda pack, role: found)
    with pytest.raises(VcmError, match="whitening of the pack foreign must hold") as refused:
        weights.read_whitening(PACK, classes)
    assert refused.value.code is Code.PACK_INVALID
