"""What the input doctor found in the files of earlier runs, for runs that are given the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vcm.conditions.doctor import Examination
from vcm.core.errors import VcmError
from vcm.core.hashing import hash_file
from vcm.packs.manifest import FILE_NAME
from vcm.packs.store import Pack
from vcm.runs.job import ConditionFile
from vcm.runs.run import examine_conditions

WHOLE = (".nii", ".nii.gz", ".mgh", ".mgz")
"""Files of these kinds hold all of an image; a NRRD header may name others, whose change its hash would not show."""

Key = tuple[str, ...]


class ExaminedFiles:
    """Examines condition files as `examine_conditions` does, and keeps what came of the last ones.

    A file is known again by its path and the SHA-256 of its bytes, with what was asked of it, by which packs. What is
    kept takes at most `most_bytes`; the oldest goes first.
    """

    def __init__(self, most_bytes: int = 64 << 20) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, Examination] = OrderedDict()

    def __call__(self, files: Iterable[ConditionFile], backbone: Pack, control: Pack | None) -> tuple[Examination, ...]:
        """One Examination a file, in their order."""
        files = tuple(files)
        if control is None or len({file.name for file in files}) < len(files):
            return examine_conditions(files, backbone, control)
        packs = tuple(hash_file(pack.folder / FILE_NAME) for pack in (backbone, control))
        return tuple(self._one(file, packs, backbone, control) for file in files)

    def _one(self, file: ConditionFile, packs: Key, backbone: Pack, control: Pack) -> Examination:
        key = _key(file, packs)
        if key is None:
            return examine_conditions([file], backbone, control)[0]
        found = self._kept.pop(key, None)
        if found is None:
            (found,) = examine_conditions([file], backbone, control)
        self._kept[key] = found
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._most_bytes:
            self._kept.popitem(last=False)
        if found.condition is None:
            return found
        acting = replace(found.condition, strength=file.strength, start=file.start, end=file.end)
        return replace(found, condition=acting)


def _key(file: ConditionFile, packs: Key) -> Key | None:
    """What an examination follows from; None where that cannot be seen without one."""
    if file.region is not None or not file.path.name.lower().endswith(WHOLE):
        return None
    try:
        content = hash_file(file.path)
    except (OSError, VcmError):
        return None
    return (*packs, file.name, str(Path(file.path).resolve()), content, repr(file.label))


def _bytes(examination: Examination) -> int:
    return examination.condition.volume.array.nbytes if examination.condition else 0
