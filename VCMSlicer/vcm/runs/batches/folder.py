"""The folder of a batch: a results folder a case, and a note for each case that was refused.

cases/NAME/          what `vcm generate` leaves, with its report
refused/NAME.json    why a case could not be made
results.csv · refused.csv · summary.json    written when every case is one or the other
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vcm.core.errors import MALFORMED, Code, VcmError
from vcm.core.reading import read_json
from vcm.outputs.claims import Claim, Mode, is_unfinished, remove
from vcm.outputs.sealed_json import read_sealed, write_sealed
from vcm.runs.results_folder import REMEDY, REPORT, ResultsFolder, in_words

RESULTS, REFUSED, SUMMARY = "results.csv", "refused.csv", "summary.json"


class BatchFolder:
    """Knows of each case whether it is made, refused or still open, from what lies on the disk alone.

    Any number of processes may work in it at the same time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def cases(self) -> Path:
        """Where the cases' own folders are."""
        return self.path / "cases"

    @contextmanager
    def opened(self, table: Path, *, force: bool = False) -> Iterator[None]:
        """Make the folder and claim it together with all other processes that work on the batch; `table` is read.

        Refused where its tables would replace a file that is not the program's own, or `table` itself.
        """
        claim = Claim(self.path, inputs=[table], force=force, mode=Mode.SHARED, remedy=REMEDY)
        with in_words(self.path):
            claim.admit(*(self.path / name for name in (RESULTS, REFUSED, SUMMARY)))
            claim.open()
        with claim:
            with in_words(self.path), tempfile.TemporaryFile(dir=self.path):
                pass
            yield

    def report(self, name: str) -> dict[str, Any] | None:
        """The report of a case that is finished, with every file that it names in place; None otherwise."""
        home = self.cases / name
        try:
            report = read_json(home / REPORT)
            whole = report["complete"] is True and all((home / str(file)).is_file() for file in report["files"])
        except (VcmError, *MALFORMED):
            return None
        return dict(report) if whole else None

    def refuse(self, name: str, error: VcmError) -> None:
        """Note why a case cannot be made; its earlier results stay."""
        note = {"case": name, "code": error.code.value, "sentence": error.sentence, "remedy": error.remedy}
        write_sealed(self._note(name), note)

    def forgive(self, name: str) -> None:
        """A case that was refused before is made now."""
        remove(self._note(name))

    def tidy(self, name: str) -> None:
        """Clear away what a process left beside a finished case that was killed before it could."""
        home = self.cases / name
        if is_unfinished(home):
            with suppress(VcmError), ResultsFolder.claim(home):
                pass

    def refusal(self, name: str) -> VcmError | None:
        """Why a case was refused, where it was."""
        try:
            note = read_sealed(self._note(name))
            return VcmError(Code(note["code"]), str(note["sentence"]), str(note["remedy"]))
        except (VcmError, *MALFORMED):
            return None

    def traces(self, name: str) -> tuple[tuple[int, int], ...]:
        """What changes whenever a case is made or refused: time and size of its report and its note."""
        found = []
        for path in (self.cases / name / REPORT, self._note(name)):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size))
        return tuple(found)

    @property
    def _notes(self) -> Path:
        return self.path / "refused"

    def _note(self, name: str) -> Path:
        return self._notes / f"{name}.json"
