"""What the terminal shows during a run: findings, a progress bar with the time left, and words; all on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vcm.cli.display.terminal import SafeConsole
from vcm.core.findings import Finding, Level
from vcm.core.plain_text import plain

if TYPE_CHECKING:
    from vcm.core.progress import Progress as Step
    from vcm.runs.run import Listeners

STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.NOTE: "dim"}


def progress_bars(console: SafeConsole) -> Progress:
    """Bars with a share, the time used and a field `left` for the time left; none where no one looks at a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Console:
    """Shows a run to a person; `quiet` shows nothing, for machines."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = SafeConsole(stderr=True, quiet=quiet, soft_wrap=True)
        self._bar = progress_bars(self._console)
        self._task = self._bar.add_task("starting", total=1.0, left="", visible=False)

    def __enter__(self) -> Console:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def listeners(self) -> Listeners:
        """The callbacks a run reports to."""
        from vcm.runs.run import Listeners

        return Listeners(progress=self._advance, finding=self._unless_it_stops, words=self.words)

    def finding(self, finding: Finding) -> None:
        """Show what the input doctor found."""
        self._console.print(f"{finding.level.value}: {plain(finding.sentence)}", style=STYLES[finding.level])
        if finding.remedy and finding.level is not Level.NOTE:
            self._console.print(f"  {plain(finding.remedy)}", style="dim")

    def words(self, words: str) -> None:
        """Show a sentence about the run."""
        self._console.print(plain(words), style="dim")

    def _unless_it_stops(self, finding: Finding) -> None:
        # An error ends the run and is reported there.
        if finding.level is not Level.ERROR:
            self.finding(finding)

    def _advance(self, step: Step) -> None:
        left = "" if step.seconds_left is None else f"{step.seconds_left:.0f} s left"
        words = f"{step.stage} {step.step}/{step.total}"
        self._bar.update(self._task, completed=step.fraction, description=words, left=left, visible=True)
