"""Tables of cases in which bad rows stand among good ones: the good ones are made, the bad ones are named."""

from __future__ import annotations

import csv
import io
import json

from case import Case
from mutation import HOSTILE_NUMBERS, HOSTILE_TEXT, bytes_damaged
from process import complaints, forked

HEADERS = (
    "seed",
    "steps",
    "samples",
    "age",
    "sex",
    "strength",
    "window:ventricles",
    "raw:age",
    "sampler",
    "uncontrolled",
)


def run(case: Case) -> tuple[int, list[str]]:
    """One table with two good rows and six bad ones."""
    rng = case.rng
    mask = str(case.user / "ventricles.nii.gz")
    columns = ["case", "ventricles", *rng.sample(HEADERS, rng.randint(0, 4))]
    rows = [[f"good-{number}", mask, *[""] * (len(columns) - 2)] for number in range(2)]
    for _ in range(6):
        row = [rng.choice((f"bad-{rng.random()}", *HOSTILE_TEXT)), mask, *[""] * (len(columns) - 2)]
        place = rng.randrange(1, len(columns))
        row[place] = str(rng.choice((*HOSTILE_TEXT, *HOSTILE_NUMBERS, case.user, case.user / "thesis.txt")))
        rows.insert(rng.randint(0, len(rows)), row)
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    data = text.getvalue().encode("utf-8", "surrogatepass")
    torn = rng.random() < 0.25
    if torn:
        data = bytes_damaged(rng, data, 200)
    table = rng.choice((case.folder, case.user)) / "cases.csv"
    table.write_bytes(data)
    out = rng.choice((case.folder / "out", case.folder / "out", case.user))
    command = [
        "generate", "--pack", "micro", "--control", "micro-ventricles", "--cases", str(table), "--steps", "1",
        "--no-montage", "--out", str(out),
    ]  # fmt: skip
    ended = forked(command, case.folder, case.home)
    found = complaints(ended, own_memory=case.own_memory)
    table.unlink()
    if ended.code == 0 and out != case.user and not torn:
        for name in ("good-0", "good-1"):
            report = out / name / "report.json"
            if not report.is_file() or json.loads(report.read_text())["complete"] is not True:
                found.append(f"ended with 0, but {name} was not made")
    return len(rows), found
