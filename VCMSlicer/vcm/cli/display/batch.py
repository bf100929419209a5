"""What a batch shows: a bar a shard with the time left, or a line a case where nobody watches; or JSON lines."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from vcm.cli.display.console import progress_bars
from vcm.cli.display.terminal import SafeConsole, say, say_json
from vcm.core.plain_text import plain

if TYPE_CHECKING:
    from vcm.core.progress import Progress as Step
    from vcm.runs.batches.run import BatchListeners, CaseEnd
    from vcm.runs.batches.shards import Shard
    from vcm.runs.batches.summary import Summary


class BatchDisplay(Protocol):
    """Where the progress of a batch is shown."""

    def __enter__(self) -> BatchDisplay: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def listeners(self, shard: Shard) -> BatchListeners:
        """The callbacks of a shard."""

    def summary(self, summary: Summary) -> None:
        """Show the summary of the whole table."""


class BatchBars:
    """Shows a batch to a person, on stderr; its summary goes to stdout."""

    def __init__(self) -> None:
        self._console = SafeConsole(stderr=True, soft_wrap=True)
        self._bars = progress_bars(self._console)
        self._said: set[str] = set()

    def __enter__(self) -> BatchBars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def listeners(self, shard: Shard) -> BatchListeners:
        from vcm.runs.batches.run import BatchListeners

        name = f"{shard.words}, " if shard.count > 1 else ""
        bar = self._bars.add_task(f"{name}starting", total=1.0, left="")

        def advance(step: Step) -> None:
            left = time_left(step.seconds_left)
            self._bars.update(bar, completed=step.fraction, description=f"{name}{step.stage}", left=left)

        return BatchListeners(advance, lambda end: self._case(name, end), self._words)

    def summary(self, summary: Summary) -> None:
        say(*summary.words.split("\n"))

    def _case(self, shard: str, end: CaseEnd) -> None:
        if end.code is not None:
            self._console.print(plain(f"refused {end.case}: {end.sentence}"), style="yellow")
        elif not self._console.is_terminal:
            left = f", {time_left(end.seconds_left)}" if end.done < end.total else ""
            self._print(f"{shard}{end.done:,}/{end.total:,}{left}: {end.case}: {end.sentence}")

    def _words(self, words: str) -> None:
        # Several shards say the same about the same machine.
        if words not in self._said:
            self._said.add(words)
            self._print(words)

    def _print(self, words: str) -> None:
        self._console.print(plain(words), style="dim")


class BatchLines:
    """Reports a batch to machines: one JSON object per line on stdout."""

    def __enter__(self) -> BatchLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def listeners(self, shard: Shard) -> BatchListeners:
        from vcm.runs.batches.run import BatchListeners

        def case(end: CaseEnd) -> None:
            state = {"refused": True, "code": end.code.value, "remedy": end.remedy} if end.code else {"refused": False}
            self._write(
                event="case",
                shard=shard.words,
                case=end.case,
                **state,
                sentence=end.sentence,
                done=end.done,
                total=end.total,
                seconds=round(end.seconds, 3),
                seconds_left=None if end.seconds_left is None else round(end.seconds_left, 1),
            )

        return BatchListeners(case=case, words=lambda words: self._write(event="words", shard=shard.words, words=words))

    def summary(self, summary: Summary) -> None:
        content = summary.as_dict()
        self._write(event="summary", words=summary.words, cases=content["cases"], measures=content["measures"])

    def _write(self, **content: object) -> None:
        # One write a line, as other processes may write to the same pipe.
        say_json(content, indent=None)


def time_left(seconds: float | None) -> str:
    """Seconds as a person would say them.

    >>> [time_left(seconds) for seconds in (None, 40, 400, 40_000, 400_000)]
    ['', '40 s left', '7 min left', '11 h 7 min left', '4 d 15 h left']
    """
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    hours = minutes // 60
    if minutes < 2:
        return f"{seconds:.0f} s left"
    if hours < 1:
        return f"{minutes} min left"
    return f"{hours} h {minutes % 60} min left" if hours < 48 else f"{hours // 24} d {hours % 24} h left"
