"""The pose of a scan of which nothing is known but its voxels, and whether to trust it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from vcm.core.volume import Volume
from vcm.registration.optimising import COARSE, FINE, MIDDLE, Cancelled, Found, Levels, Optimiser, stop_if
from vcm.registration.pose import Pose
from vcm.registration.reference import Reference
from vcm.registration.search import likely_poses
from vcm.registration.similarity import Judge
from vcm.volumes.brightness import brightness

STARTS, FINALISTS = 7, 3
APART_DEGREES, APART_MM = 10.0, 10.0
"""Two poses nearer than this are one."""
GOOD, FAILED = 0.33, 0.25
"""Similarity at which a pose is trusted, and below which it is not one."""
LEAST_COVERAGE = 0.9
SEARCH, ALIGN = "searching the head", "aligning it"

Report = Callable[[str, int, int], None]


class Verdict(str, Enum):
    """`GOOD` may be used, `DOUBTFUL` has to be looked at, `FAILED` is no pose."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class Registration:
    """Where a scan lies relative to a reference, and how much speaks for it.

    `similarity` is the correlation ratio within the brain, `coverage` the share of the brain within the scan.
    """

    pose: Pose
    similarity: float
    coverage: float
    shift_mm: float
    """How far the pose moves the middle of the brain."""

    @property
    def verdict(self) -> Verdict:
        if self.similarity < FAILED:
            return Verdict.FAILED
        return Verdict.GOOD if self.similarity >= GOOD and self.coverage >= LEAST_COVERAGE else Verdict.DOUBTFUL

    @property
    def words(self) -> str:
        """The verdict with its figures, for people."""
        figures = f"correlation ratio {self.similarity:.2f} in the brain"
        moved = f"turned by {self.pose.degrees:.0f}° and moved by {self.shift_mm:.0f} mm"
        if self.verdict is Verdict.FAILED:
            return f"No head was found: {figures}, at least {FAILED:.2f} is expected of a head."
        if self.verdict is Verdict.GOOD:
            return f"Registered: {moved}, {figures}."
        if self.similarity >= GOOD:
            return f"Registered, but only {self.coverage:.0%} of the brain is in the scan: {moved}, {figures}."
        return f"The registration is doubtful: {moved}, {figures}, {GOOD:.2f} and more is usual."


def register_scan(
    image: Volume,
    reference: Reference,
    report: Report = lambda *_: None,
    cancelled: Cancelled = lambda: False,
) -> Registration:
    """Lay a scan on a reference, whichever way it is turned; rigid, deterministic. Nothing of it is mirrored.

    `report` hears a stage with a step of so many.
    """
    scan = scaled(image)

    def searched(fraction: float) -> None:
        stop_if(cancelled)
        report(SEARCH, round(100 * fraction), 100)

    starts = likely_poses(scan, reference, STARTS, searched) if np.ptp(scan.array) > 0 else []
    if not starts:
        return Registration(Pose.nowhere(), 0.0, 0.0, 0.0)
    steps = len(starts) + FINALISTS + 1
    optimiser, done = Optimiser(scan, reference, cancelled), 0

    def improved(start: Pose, levels: Levels) -> Found:
        nonlocal done
        found, done = optimiser.improved(start, levels), done + 1
        report(ALIGN, done, steps)
        return found

    coarse = sorted((improved(start, COARSE) for start in starts), key=lambda found: found.metric)
    finalists = [improved(found.pose, MIDDLE).pose for found in _distinct(coarse, reference)]
    judge = Judge(scan, reference)
    best = max(finalists, key=judge.similarity)
    found = optimiser.improved(best, FINE)
    report(ALIGN, steps, steps)
    return _judged(judge, reference, found.pose)


def measure_nearby(image: Volume, reference: Reference) -> Registration:
    """The pose of an image that probably lies about right, to some degrees and millimetres; a second or two."""
    scan = scaled(image)
    optimiser = Optimiser(scan, reference)
    # Its steps have become small at the first end: begun anew there it gets out of a flat valley.
    first = optimiser.improved(Pose.nowhere(), COARSE)
    return _judged(Judge(scan, reference), reference, optimiser.improved(first.pose, COARSE).pose)


def _judged(judge: Judge, reference: Reference, pose: Pose) -> Registration:
    """A pose with its figures."""
    return Registration(pose, judge.similarity(pose), judge.coverage(pose), pose.inverse.shift_of(reference.middle))


def scaled(image: Volume) -> Volume:
    """Intensities in 0–1: what is not a number or below 0 becomes 0, the brightest half percent 1."""
    array = np.nan_to_num(image.array.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    bright = brightness(array[array > 0]) or 1.0
    return Volume((array / bright).clip(0, 1), image.grid)


def _distinct(found: list[Found], reference: Reference) -> list[Found]:
    """The first few that are different poses."""
    kept: list[Found] = []
    for one in found:
        apart = (Pose(one.pose.matrix @ other.pose.inverse.matrix) for other in kept)
        if all(p.degrees > APART_DEGREES or p.shift_of(reference.middle) > APART_MM for p in apart):
            kept.append(one)
    return kept[:FINALISTS]
