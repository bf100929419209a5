"""Tables of cases for the tiny model, and `vcm` in processes of its own that work on one."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import numpy as np
from faults import MASK, image_file, names
from vcm.volumes.volume_files import read_volume

OPTIONS = ("--pack", "tiny", "--steps", "1")


def write_masks(folder):
    """`large.nii.gz` and `small.nii.gz`, and `cut.nii.gz`, which is damaged."""
    image_file(folder / "large.nii.gz", MASK)
    smaller = MASK.copy()
    smaller[7:] = 0
    image_file(folder / "small.nii.gz", smaller)
    (folder / "cut.nii.gz").write_bytes((folder / "large.nii.gz").read_bytes()[:40])


def write_table(folder, *rows, name="cases.csv"):
    """A table of dictionaries; columns that a row lacks are empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with (folder / name).open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns, restval="")
        table.writeheader()
        table.writerows(rows)
    return folder / name


def many(count, **columns):
    """So many rows with masks in turn."""
    return [
        {"case": f"sub-{n:03d}", "ventricles": ("large", "small")[n % 2] + ".nii.gz", **columns} for n in range(count)
    ]


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def report_of(out, case):
    return json.loads((out / "cases" / case / "report.json").read_text("utf-8"))


def check_whole(out, case):
    """That a case is finished and each of its files can be read."""
    report = report_of(out, case)
    assert report["complete"] is True and report["samples"]
    assert set(names(out / "cases" / case)) == set(report["files"])
    for sample in report["samples"]:
        assert np.isfinite(read_volume(out / "cases" / case / sample["file"]).array).all()


def start(*arguments, launcher=()):
    """`python -m vcm generate` with `arguments`, or what `launcher` makes of it; its output is kept for `events_of`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment |= {"OMP_NUM_THREADS": "1", "TERM": "dumb"}
    program = [*launcher, "-m", "vcm"] if launcher else [sys.executable, "-m", "vcm"]
    command = [*program, "generate", *OPTIONS, *arguments, "--json"]
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def first_event(process, kind):
    """The next line of a process that tells of `kind`."""
    for line in process.stdout:
        if line.startswith("{") and json.loads(line).get("event") == kind:
            return json.loads(line)
    raise AssertionError(f"it ended before any {kind}: {process.stderr.read()}")


def finish(process, seconds=300):
    """How a process ended: its code, the events it still told, and stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, [json.loads(line) for line in out.splitlines() if line.startswith("{")], err
