"""The folder a run leaves its results in: what is the user's stays, what an earlier run left may be replaced."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from vcm.core.disk import require_utf8
from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import read_json
from vcm.outputs.atomic_files import NO_ROOM
from vcm.outputs.claims import Claim

REPORT = "report.json"
MONTAGE = "montage.png"
KINDS = ("sample", "uncontrolled", "segmentation", "layout", "preview")
CONDITION = "condition"
RESULT = re.compile(rf"({'|'.join([*KINDS, CONDITION])})-\d+\.nii\.gz|{re.escape(REPORT)}|{re.escape(MONTAGE)}")
LABELLED = re.compile(rf"({'|'.join(KINDS)})-\d+-(?P<label>[A-Za-z0-9-]+)\.nii\.gz")
REMEDY = "Choose another folder with --out, or replace files by these names with --force."


class ResultsFolder:
    """A folder that a run may write its results into, locked as long as the run goes on (`with folder:`).

    Results of an earlier run stay until the new run has a Sample of its own to put in their place; if it ends before,
    the folder is as it was. Where it was killed before, the next run puts them back.
    """

    def __init__(self, claim: Claim, labels: Collection[str] = ()) -> None:
        self.path = claim.folder
        self._claim = claim
        self._labels = {label.lower() for label in labels}
        self._earlier: frozenset[str] = frozenset()
        self._provisional = False

    @classmethod
    def claim(
        cls, path: Path, *, inputs: Iterable[Path] = (), force: bool = False, labels: Collection[str] = ()
    ) -> ResultsFolder:
        """Look whether the folder can take results without a loss; nothing in it is changed.

        `labels` are those that stand in the names of this run's volumes beside their number.

        Files with the names of results that the program did not write, or that were changed since, are the user's, and
        refused unless `force` is set; `inputs` of the run are refused in any case.
        """
        with in_words(path):
            require_utf8(path)
            if path.exists() and not path.is_dir():
                sentence = f"The results should go into the folder {path}, but that is a file."
                raise VcmError(Code.BAD_REQUEST, sentence, "Choose a folder with --out.")
            folder = cls(Claim(path, inputs=inputs, force=force, remedy=REMEDY, settled_late=True), labels)
            folder._look()
        return folder

    def __enter__(self) -> ResultsFolder:
        """Make the folder, lock it and try to write in it, so that a run does not begin that could not end."""
        with in_words(self.path):
            self._claim.open()
            try:
                with tempfile.TemporaryFile(dir=self.path):
                    pass
                self._recover()
                self._earlier = frozenset(self._look())
            except BaseException:
                self._claim.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with in_words(self.path):
            self._claim.close()

    def file(self, kind: str, index: int, label: str = "") -> Path:
        """Where a volume goes; `kind` is one of `KINDS`, or `CONDITION`, and `label` one of the folder's."""
        return self.path / f"{kind}-{index}{label and f'-{label}'}.nii.gz"

    @contextmanager
    def as_it_was_unless_replaced(self) -> Iterator[None]:
        """Take back what is new if the block fails before `replace_earlier` was called."""
        try:
            yield
        except BaseException:
            if self._provisional:
                with in_words(self.path):
                    self._put_back()
            raise

    def make_room(self) -> None:
        """Set the results of an earlier run aside; called before the first file is written."""
        if self._earlier:
            with in_words(self.path):
                # The report goes first and comes back last: it never stands beside the files of another run.
                names = sorted(self._earlier, key=lambda name: name != REPORT)
                self._claim.set_aside([self.path / name for name in names])
        self._provisional = True

    def replace_earlier(self) -> None:
        """Let go of the results of an earlier run: there are new ones in their place."""
        self._provisional = False
        if self._claim.aside:
            self._claim.settle()
        self._claim.forget_aside()

    def _look(self) -> list[str]:
        """The results that are there; refused where one of them is not the program's own."""
        taken = [entry for entry in self.path.iterdir() if self._is_result(entry)] if self.path.exists() else []
        for entry in taken:
            if entry.is_dir():
                raise VcmError(
                    Code.BAD_REQUEST,
                    f"The folder {self.path} holds a folder {entry.name}, where a result would go.",
                    "Choose another folder with --out.",
                )
        self._claim.admit(*taken)
        return [entry.name for entry in taken]

    def _is_result(self, entry: Path) -> bool:
        """Whether a file has the name of a result; with another label than this run's it may be the user's own."""
        labelled = LABELLED.fullmatch(entry.name)
        if labelled is None:
            return RESULT.fullmatch(entry.name) is not None
        return labelled["label"].lower() in self._labels or self._claim.owns(entry)

    def _recover(self) -> None:
        """Finish what a killed run left: its own results if they have a Sample, else those of the run before."""
        if self._claim.aside and not self._has_a_sample():
            self._put_back()
        else:
            self.replace_earlier()

    def _has_a_sample(self) -> bool:
        try:
            return bool(read_json(self.path / REPORT)["samples"])
        except (VcmError, *MALFORMED):
            return False

    def _put_back(self) -> None:
        # A run writes its report before anything else, and it goes last: without it there is nothing new.
        if (self.path / REPORT).exists():
            new = [entry for entry in self.path.iterdir() if self._is_result(entry) and self._claim.owns(entry)]
            for entry in sorted(new, key=lambda entry: entry.name == REPORT):
                self._claim.remove(entry)
        self._claim.bring_back(last=REPORT)
        self._provisional = False


@contextmanager
def in_words(folder: Path) -> Iterator[None]:
    """Errors of the system about a folder of results, as sentences."""
    try:
        yield
    except OSError as error:
        raise VcmError(
            Code.DISK_FULL if error.errno in NO_ROOM else Code.NO_PERMISSION,
            f"The folder {folder} cannot take the results: {error.strerror or error}.",
            "Choose a folder with room that you may write to with --out.",
        ) from error
