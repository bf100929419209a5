"""What tests of faults share: bad things to make, and what must hold after them."""

from __future__ import annotations

import gzip
import os
import pickle
import re
from contextlib import contextmanager

import numpy as np
import tiny
import torch
from phantoms import nifti_bytes
from vcm.core.volume import Volume
from vcm.outputs.record import RECORD
from vcm.volumes.volume_files import write_volume

MASK = np.zeros(tiny.GRID.shape, np.uint8)
MASK[5:9, 8:15, 12:17] = 1
RUN = ("generate", "--pack", "tiny", "--steps", 1, "--seed", 3)


def state_of(folder):
    """Every path below a folder with the bytes of its file, None for what has none."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
    }


@contextmanager
def untouched(folder):
    before = state_of(folder)
    yield
    assert state_of(folder) == before


def names(folder):
    """What lies in a folder, but for the record of what the program wrote there."""
    return sorted(path.name for path in folder.iterdir() if path.name != RECORD)


def told(ended, *words, code=1):
    """That a command ended with a sentence, with these words in it and no traceback."""
    assert ended.code == code, ended
    assert ended.err.count("vcm: ") >= 1
    assert not re.search(r"Traceback|Error:|Exception|<[a-z_.]+ object", ended.err), ended.err
    for word in words:
        assert word in ended.err, f"{word!r} is missing in {ended.err!r}"


def image_file(path, array, grid=tiny.GRID):
    write_volume(path, Volume(array, grid))


def nifti_file(path, array, **header):
    data = nifti_bytes(array, sform=tiny.GRID.affine, **header)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def without_its_end(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.system, (f"touch '{self.trace}'",)


def write_bomb(path, trace, how):
    if how == "npy":
        np.save(path, np.array([Bomb(trace)], dtype=object), allow_pickle=True)
    elif how == "torch":
        torch.save({"state_dict": {"weight": torch.zeros(3)}, "bomb": Bomb(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(trace)))
