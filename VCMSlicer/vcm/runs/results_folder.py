"""The folder a run leaves its results in: what is the user's stays, what an earlier run left may be replaced."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vcm.atomic_files import NO_ROOM
from vcm.errors import MALFORMED, Code, VcmError

REPORT = "report.json"
MONTAGE = "montage.png"
KINDS = ("sample", "uncontrolled", "segmentation", "preview")
CONDITION = "condition"
RESULT = re.compile(rf"({'|'.join([*KINDS, CONDITION])})-\d+\.nii\.gz|{re.escape(REPORT)}|{re.escape(MONTAGE)}")
LEFTOVER = re.compile(rf"\.[0-9a-f]{{8}}\.({RESULT.pattern})")
"""The temporary names under which a run that was killed may have left a file."""


class ResultsFolder:
    """A folder that a run may write its results into.

    Results of an earlier run, which its report names, stay until the new run has a Sample of its own to put in their
    place; if it ends before, the folder is as it was.
    """

    def __init__(self, path: Path, earlier: Iterable[str] = ()) -> None:
        self.path = path
        self._earlier = frozenset(earlier)
        self._aside: Path | None = None
        self._provisional = False

    @classmethod
    def claim(cls, path: Path, *, inputs: Iterable[Path] = (), force: bool = False) -> ResultsFolder:
        """Look whether the folder can take results without a loss; nothing in it is changed.

        Files with the names of results that no report speaks of are the user's, and refused unless `force` is set;
        `inputs` of the run are refused in any case.
        """
        with _in_words(path):
            if path.exists() and not path.is_dir():
                sentence = f"The results should go into the folder {path}, but that is a file."
                raise VcmError(Code.BAD_REQUEST, sentence, "Choose a folder with --out.")
            taken = {entry.name: entry for entry in path.iterdir() if _is_ours(entry)} if path.exists() else {}
            _refuse_inputs(path, taken.values(), inputs)
        known = _named_by_a_report(path / REPORT)
        foreign = [n for n, entry in taken.items() if RESULT.fullmatch(n) and (n not in known or entry.is_dir())]
        if foreign and not (force and all(taken[name].is_file() for name in foreign)):
            found = ", ".join(sorted(foreign))
            raise VcmError(
                Code.BAD_REQUEST,
                f"The folder {path} already holds {found}, which no report of an earlier run names.",
                "Choose another folder with --out, or replace files by these names with --force.",
            )
        return cls(path, taken)

    def open(self) -> None:
        """Make the folder and try to write in it, so that a run does not begin that could not end."""
        with _in_words(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass

    def file(self, kind: str, index: int) -> Path:
        """Where a volume goes; `kind` is one of `KINDS`, or `CONDITION`."""
        return self.path / f"{kind}-{index}.nii.gz"

    @contextmanager
    def as_it_was_unless_replaced(self) -> Iterator[None]:
        """Take back what is new if the block fails before `replace_earlier` was called."""
        try:
            yield
        except BaseException:
            self._put_back()
            raise

    def make_room(self) -> None:
        """Set the results of an earlier run aside; called before the first file is written."""
        self._provisional = True
        if self._earlier:
            with _in_words(self.path):
                self._aside = Path(tempfile.mkdtemp(prefix="earlier-results-", dir=self.path))
                for name in self._earlier:
                    (self.path / name).rename(self._aside / name)

    def replace_earlier(self) -> None:
        """Let go of the results of an earlier run: there are new ones in their place."""
        self._provisional = False
        if self._aside is not None:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _put_back(self) -> None:
        if not self._provisional:
            return
        with _in_words(self.path):
            aside = {entry.name: entry for entry in self._aside.iterdir()} if self._aside else {}
            for entry in self.path.iterdir():
                if _is_ours(entry) and (entry.name in aside or entry.name not in self._earlier):
                    entry.unlink()
            for name, entry in aside.items():
                entry.rename(self.path / name)
            if self._aside:
                self._aside.rmdir()
        self._provisional = False


def _is_ours(entry: Path) -> bool:
    return bool(RESULT.fullmatch(entry.name) or LEFTOVER.fullmatch(entry.name))


def _named_by_a_report(report: Path) -> set[str]:
    try:
        content = json.loads(report.read_text("utf-8"))
        if content["synthetic"] is not True:
            return set()
        names = {str(name) for name in content["files"]}
        if content["complete"] is False:
            # A run that was killed may have written its next Sample without having entered it.
            names |= {f"{kind}-{len(content['samples'])}.nii.gz" for kind in KINDS} | {MONTAGE}
            names |= {f"{CONDITION}-{index}.nii.gz" for index in range(len(content["conditions"]))}
    except MALFORMED:
        return set()
    return names


def _refuse_inputs(path: Path, taken: Iterable[Path], inputs: Iterable[Path]) -> None:
    places = {entry.resolve() for entry in taken}
    for file in inputs:
        if file.resolve() in places:
            raise VcmError(
                Code.BAD_REQUEST,
                f"{file} was given as an input, but the results that go into {path} would replace it.",
                "Choose another folder with --out.",
            )


@contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VcmError(
            Code.DISK_FULL if error.errno in NO_ROOM else Code.NO_PERMISSION,
            f"The folder {folder} cannot take the results: {error.strerror or error}.",
            "Choose a folder with room that you may write to with --out.",
        ) from error
