"""Making the cases of one shard, one after the other, with the models loaded once."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.conditions.contrasts import resolve_contrasts
from vcm.core.errors import Code, VcmError
from vcm.core.progress import Progress
from vcm.outputs.folder_lock import InUseError
from vcm.packs.store import Pack, controls_for
from vcm.protocol.failures import in_words
from vcm.runs.batches.case_table import Case, Known, read_case_table
from vcm.runs.batches.folder import BatchFolder
from vcm.runs.batches.shards import Shard
from vcm.runs.choice import choose_packs
from vcm.runs.condition_text import Acting
from vcm.runs.examined_files import ExaminedFiles
from vcm.runs.job import GenerateJob
from vcm.runs.layout_choice import choose_layout
from vcm.runs.request_hash import hash_request
from vcm.runs.run import Listeners, RunResult, run_generate
from vcm.runs.warm_models import WarmModels

if TYPE_CHECKING:
    from vcm.core.progress import OnProgress
    from vcm.sampling.generator import Generator

STOPPING = frozenset(
    {
        Code.CANCELLED,
        Code.DISK_FULL,
        Code.DEVICE,
        Code.OUT_OF_MEMORY,
        Code.PACK_MISSING,
        Code.PACK_INVALID,
        Code.PACK_DAMAGED,
        Code.PACK_UNSAFE,
    }
)
"""What the next case would meet too."""
LOOK_AGAIN_S = 1.0
"""How often a case is looked at that another process is making."""


@dataclass(frozen=True)
class Batch:
    """A table of cases and what the command line said for all of them; `defaults.out` is the batch's folder."""

    table: Path
    defaults: GenerateJob
    acting: Mapping[str, Acting] = field(default_factory=dict)

    @property
    def folder(self) -> BatchFolder:
        return BatchFolder(self.defaults.out)

    def opened(self) -> AbstractContextManager[None]:
        """Claim the batch's folder, together with all other processes that work on it."""
        return self.folder.opened(self.table, force=self.defaults.force)

    def cases(self) -> list[Case]:
        """The table, read with the names that the packs know."""
        backbone, control = choose_packs(self.defaults.pack, self.defaults.control, ())
        controls = [control] if control else controls_for(backbone)
        conditions = tuple(dict.fromkeys(spec.name for c in controls for spec in c.control.conditions))
        known = Known(conditions, tuple(spec.name for spec in backbone.backbone.attributes))
        strange = [n for n in (*self.acting, *(c.name for c in self.defaults.conditions)) if n not in conditions]
        if strange:
            raise VcmError(
                Code.CONDITION,
                f"No control of {backbone.name} takes {', '.join(strange)}; known: {', '.join(conditions) or 'none'}.",
                "Name the conditions as the control does; vcm packs list shows the controls.",
            )
        defaults = replace(self.defaults, out=self.folder.cases)
        return read_case_table(self.table, defaults, known, self.acting)


@dataclass(frozen=True)
class CaseEnd:
    """How a case ended: `sentence` gives the alignment or, with a `code`, why it was refused.

    `done` of the shard's `total` cases are behind us, with those that were finished before.
    """

    case: str
    sentence: str
    done: int
    total: int
    seconds: float
    seconds_left: float | None
    code: Code | None = None
    remedy: str = ""


@dataclass(frozen=True)
class BatchListeners:
    """Callbacks of a batch; `progress` is that of the whole shard."""

    progress: OnProgress | None = None
    case: Callable[[CaseEnd], None] = lambda _: None
    words: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Tally:
    """What became of a shard's cases."""

    before: int = 0
    made: int = 0
    refused: tuple[str, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.before + other.before, self.made + other.made, self.refused + other.refused)


def run_shard(batch: Batch, shard: Shard, listeners: BatchListeners | None = None) -> Tally:
    """Make the cases of a shard that are not finished yet.

    A case that cannot be made is noted with its sentence and the others go on; what would meet every case, such as a
    full disk, ends the shard. Each case is a `run_generate` of its own, the same as from the command line.
    """
    return _ShardRun(batch, shard, listeners or BatchListeners()).run()


class _ShardRun:
    def __init__(self, batch: Batch, shard: Shard, listeners: BatchListeners) -> None:
        self._batch, self._shard, self._listeners = batch, shard, listeners
        self._folder = batch.folder
        self._models = WarmModels()
        self._examine = ExaminedFiles()
        self._planned: Generator | None = None
        self._said: set[str] = set()
        self._common: VcmError | None = None
        self._surprised = False
        self._total = self._before = self._tried = 0
        self._started = time.monotonic()

    def run(self) -> Tally:
        cases = self._batch.cases()
        _check_defaults(self._batch.defaults)
        with self._batch.opened():
            return self._run(cases)

    def _run(self, cases: list[Case]) -> Tally:
        mine = self._shard.of(cases)
        waiting = [case for case in mine if not self._is_finished(case)]
        self._total, self._before = len(mine), len(mine) - len(waiting)
        share = f"{self._shard.words}: {len(mine):,} of " if self._shard.count > 1 else ""
        self._say(f"{share}{len(cases):,} cases, {self._before:,} of them finished before")
        self._started = time.monotonic()
        # Cases with the same conditions one after the other, so that a control is loaded once.
        waiting.sort(key=_condition_names)
        made, refused = 0, []
        seen = {case.name: self._folder.traces(case.name) for case in waiting}
        queue, busy = deque(waiting), 0
        while queue:
            case = queue.popleft()
            if self._folder.traces(case.name) != seen[case.name] and self._is_finished(case):
                self._before += 1
                continue
            try:
                ended_well = self._make(case)
            except InUseError as error:
                # Another process makes it: it is looked at again when there is nothing else to do.
                self._say(f"{error.sentence} It is left to it.")
                queue.append(case)
                busy += 1
                if busy >= len(queue):
                    time.sleep(LOOK_AGAIN_S)
                continue
            busy = 0
            if ended_well:
                made += 1
            else:
                refused.append(case.name)
        return Tally(self._before, made, tuple(refused))

    def _is_finished(self, case: Case) -> bool:
        report = self._folder.report(case.name) if case.job else None
        if case.job is None or report is None or not report.get("request_sha256"):
            return False
        try:
            packs = choose_packs(case.job.pack, case.job.control, (c.name for c in case.job.conditions))
            layout, _ = choose_layout(case.job, *packs)
        except VcmError:
            return False
        if hash_request(case.job, *packs, layout) != report["request_sha256"]:
            return False
        self._folder.forgive(case.name)
        self._folder.tidy(case.name)
        return True

    def _make(self, case: Case) -> bool:
        """Whether the case could be made."""
        started = time.monotonic()
        try:
            if case.job is None:
                raise case.fault or VcmError(Code.INTERNAL, f"The row of {case.name} could not be understood.")
            listeners = self._listeners_of(case)
            keeping = self._load, self._models.judge, self._examine, self._models.layout
            result = run_generate(case.job, listeners, *keeping)
        except (BrokenPipeError, InUseError):
            # Whoever listened has gone, or somebody else makes it; the case is not to blame.
            raise
        except Exception as error:
            failure = in_words(error)
            # One surprise may be about one file; two in a row are about the program or the machine.
            surprised = failure is not error and failure.code is Code.INTERNAL
            if failure.code in STOPPING or error is self._common or (surprised and self._surprised):
                raise
            self._surprised = surprised
            failure = _by_name(failure, case, self._batch)
            self._folder.refuse(case.name, failure)
            self._report(case, failure.sentence, started, failure)
            return False
        self._surprised = False
        self._folder.forgive(case.name)
        self._report(case, _in_one_line(result), started)
        return True

    def _load(self, backbone: Pack, control: Pack | None, job: GenerateJob) -> Generator:
        """What fails here would fail for every case."""
        try:
            generator = self._models.generator(backbone, control, job, lambda name: self._say(f"loading {name}"))
            if generator is not self._planned:
                generator.plan(job.batch)
                self._planned = generator
        except VcmError as error:
            self._common = error
            raise
        return generator

    def _listeners_of(self, case: Case) -> Listeners:
        def advance(step: Progress) -> None:
            if self._listeners.progress:
                done = self._tried + step.fraction
                fraction = (self._before + done) / self._total
                at = Progress(f"{case.name}: {step.stage}", step.step, step.total, fraction, self._left(done))
                self._listeners.progress(at)

        return Listeners(progress=advance, words=self._say)

    def _report(self, case: Case, sentence: str, started: float, error: VcmError | None = None) -> None:
        self._tried += 1
        seconds = time.monotonic() - started
        code, remedy = (error.code, error.remedy) if error else (None, "")
        done = self._before + self._tried
        self._listeners.case(
            CaseEnd(case.name, sentence, done, self._total, seconds, self._left(self._tried), code, remedy)
        )

    def _left(self, done: float) -> float | None:
        waiting = self._total - self._before - done
        return (time.monotonic() - self._started) * waiting / done if done else None

    def _say(self, words: str) -> None:
        """Say a sentence once, however many cases would repeat it."""
        if words not in self._said:
            self._said.add(words)
            self._listeners.words(words)


def _by_name(error: VcmError, case: Case, batch: Batch) -> VcmError:
    """The error with names in place of the paths it speaks of: its table is given to others more readily than scans.

    A file below the table's folder is named from there, any other by its last part.
    """
    home, job = batch.table.parent, case.job
    conditions = job.conditions if job else ()
    regions = [condition.region for condition in conditions if condition.region]
    noise = [job.noise] if job and job.noise else []
    files = [batch.table, batch.defaults.out, *(c.path for c in conditions), *regions, *noise]
    sentence, remedy = error.sentence, error.remedy
    for path in sorted({form for file in files for form in (file, file.resolve())}, key=lambda p: -len(str(p))):
        below = path.resolve().is_relative_to(home.resolve()) and ".." not in path.parts and path != home
        name = str(path.relative_to(home)) if below and path.is_relative_to(home) else path.name
        if str(path) not in (".", name):
            sentence, remedy = (text.replace(str(path), name) for text in (sentence, remedy))
    # A file that a header names lies beside it.
    for folder in {form.parent for file in files for form in (file, file.resolve())} - {home, home.resolve(), Path()}:
        sentence, remedy = (text.replace(f"{folder}{os.sep}", "") for text in (sentence, remedy))
    return VcmError(error.code, sentence, remedy)


def _check_defaults(job: GenerateJob) -> None:
    """Refuse at once what would be wrong with every case."""
    from vcm.judging.segmentation import choose_segmenter
    from vcm.sampling.request import GenerateRequest

    backbone, _ = choose_packs(job.pack, job.control, ())
    attributes, _ = resolve_contrasts(backbone.backbone.attributes, job.attributes, job.raw_attributes)
    sampler, steps = backbone.backbone.sampling.chosen(job.sampler, job.steps)
    GenerateRequest(
        attributes,
        seed=job.seed or 0,
        samples=job.samples,
        sampler=sampler,
        steps=steps,
        preview_every=job.preview_every,
        batch=job.batch,
    )
    choose_segmenter(backbone, job.segmenter)


def _condition_names(case: Case) -> list[str]:
    return sorted(condition.name for condition in case.job.conditions) if case.job else []


def _in_one_line(result: RunResult) -> str:
    return "; ".join(summary.partition("\n")[0] for summary in result.summaries)
