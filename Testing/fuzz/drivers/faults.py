"""A machine that does not help: closed and full outputs, little memory, small files, signals at any moment."""

from __future__ import annotations

import resource
import signal

from case import Case
from process import Hardship, complaints
from process import run as run_process

COMMANDS = (
    ["packs", "list", "--json"],
    ["packs", "list"],
    ["--help"],
    ["packs", "info", "micro"],
    ["packs", "verify", "micro"],
    ["doctor", "--pack", "micro", "--condition", "ventricles=user/ventricles.nii.gz", "--json"],
    ["doctor", "--pack", "micro", "--condition", "ventricles=user/thesis.txt"],
    ["generate", "--pack", "micro", "--condition", "ventricles=user/ventricles.nii.gz", "--steps", "2", "--out", "out"],
    ["generate", "--pack", "micro", "--steps", "1", "--no-montage", "--out", "out", "--json"],
    ["generate", "--pack", "micro", "--cases", "user/results.csv", "--out", "out"],
)


def run(case: Case) -> tuple[int, list[str]]:
    """One command under one hardship, from a new interpreter, since its end is what is looked at."""
    rng = case.rng
    hardship = rng.choice(
        [
            Hardship(stdout="/dev/full"),
            Hardship(stderr="/dev/full"),
            Hardship(stdout="/dev/full", stderr="/dev/full"),
            Hardship(closed=(1,)),
            Hardship(closed=(2,)),
            Hardship(closed=(1, 2)),
            Hardship(limits={resource.RLIMIT_AS: rng.choice((300, 600, 1000, 1500, 2500)) * 1_000_000}),
            Hardship(limits={resource.RLIMIT_FSIZE: rng.choice((0, 100, 10_000, 200_000))}),
            Hardship(limits={resource.RLIMIT_NOFILE: rng.choice((8, 16, 40))}),
            Hardship(signal_after=(signal.SIGINT, rng.uniform(0, 4))),
            Hardship(signal_after=(signal.SIGTERM, rng.uniform(0, 4))),
        ]
    )
    command = rng.choice(COMMANDS)
    ended = run_process(command, case.folder, case.home, hardship)
    found = complaints(ended, hardship, own_memory=case.own_memory)
    return 1, [f"{' '.join(command)} under {hardship}: {complaint}: {ended.err[-400:]!r}" for complaint in found]
