"""Where the doctor's checks write down what they find about one input."""

from __future__ import annotations

from vcm.core.findings import Finding, Level


class Notebook:
    """Collects the findings about one input; `who` begins their sentences, such as a file's name.

    >>> notes = Notebook("ventricles", "mask.nii.gz")
    >>> notes.error("EMPTY", f"{notes.who} holds no structure.", "Paint one.")
    >>> notes.failed, notes.findings[0].sentence
    (True, 'mask.nii.gz holds no structure.')
    """

    def __init__(self, subject: str, who: str) -> None:
        self.subject = subject
        self.who = who
        self._findings: list[Finding] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._findings)

    @property
    def failed(self) -> bool:
        """Whether an error is among the findings."""
        return any(finding.level is Level.ERROR for finding in self._findings)

    def error(self, code: str, sentence: str, remedy: str) -> None:
        self._findings.append(Finding(Level.ERROR, code, self.subject, sentence, remedy))

    def warning(self, code: str, sentence: str, remedy: str) -> None:
        self._findings.append(Finding(Level.WARNING, code, self.subject, sentence, remedy))

    def note(self, code: str, sentence: str, remedy: str) -> None:
        self._findings.append(Finding(Level.NOTE, code, self.subject, sentence, remedy))
