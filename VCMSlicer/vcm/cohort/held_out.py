"""Which cases are held out: whole heads or subjects, the same ones every time, and never learned from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from vcm.core.errors import Code, VcmError

SHARE, MOST = 0.2, 20
"""A fifth of the cases is held out, and no more than twenty: each must be sampled."""

SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")


class HasHead(Protocol):
    """A case of some head or subject."""

    @property
    def name(self) -> str: ...

    @property
    def head(self) -> str: ...


Case = TypeVar("Case", bound=HasHead)


@dataclass(frozen=True)
class Split:
    """Names of cases to learn from and of cases to try on; `heads` are those of the latter."""

    learned: tuple[str, ...]
    held_out: tuple[str, ...]
    heads: tuple[str, ...]


def subject_of(head: str) -> str:
    """Whom a head or a scan belongs to: several scans of one subject, named as BIDS has it, are one.

    >>> subject_of("sub-03_ses-2_T1w"), subject_of("head_07")
    ('sub-03', 'head_07')
    """
    found = SUBJECT.search(head)
    return found.group() if found else head


def split_cases(cases: Sequence[Case]) -> Split:
    """Hold out whole subjects until about a fifth of the cases is, at least half of them staying to learn from.

    Which ones follows from their names alone, so the same cases are always split the same way. The held-out cases
    alternate between subjects, so that the first few show as many as can be.
    """
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(subject_of(case.head), []).append(case.name)
    if len(groups) < 2:
        raise VcmError(
            Code.BAD_REQUEST,
            f"All {len(cases)} cases are of one head, {next(iter(groups))}, so nothing can be held out to try what "
            "was learned.",
            "Add cases of another head or subject.",
        )
    wanted = min(MOST, max(1, round(SHARE * len(cases))))
    order = sorted(groups, key=lambda head: hashlib.sha256(head.encode()).digest())
    chosen: list[str] = []
    count = 0
    for limit in (wanted, len(cases) // 2):
        for head in order:
            if count < wanted and head not in chosen and count + len(groups[head]) <= limit:
                chosen.append(head)
                count += len(groups[head])
        if chosen:
            break
    held_out = [groups[head][turn] for turn in range(len(cases)) for head in chosen if turn < len(groups[head])]
    aside = set(held_out)
    return Split(tuple(case.name for case in cases if case.name not in aside), tuple(held_out), tuple(chosen))
