"""A patient's name in every folder and file: it may be said to the user, and stands in nothing that is passed on."""

from __future__ import annotations

import shutil

from case import Case
from process import complaints, forked

NAME = "Muster-Erika-19520304"


def run(case: Case) -> tuple[int, list[str]]:
    """Generate in a folder that is named after a patient, and look for the name in all that it leaves."""
    rng = case.rng
    folder = case.folder / rng.choice((NAME, f"scans of {NAME}", f"ä {NAME}"))
    folder.mkdir()
    mask = folder / f"{NAME}{rng.choice(('', ' left', '=1'))}.nii.gz"
    shutil.copyfile(case.user / "ventricles.nii.gz", mask)
    out = folder / "out"
    condition = f"ventricles={mask}"
    if "=" in mask.name:
        mask = mask.rename(folder / f"{NAME}.nii.gz")
        condition = f"ventricles={mask}"
    command = [
        "generate", "--pack", "micro", "--control", "micro-ventricles", "--condition", condition, "--steps", "1",
        "--seed", "3", "--out", str(out),
    ]  # fmt: skip
    if rng.random() < 0.5:
        table = folder / f"{NAME}.csv"
        table.write_text(f"case,ventricles\none,{mask.name}\ntwo,{NAME}-missing.nii.gz\n")
        command[5:7] = ["--cases", str(table)]
    ended = forked(command, folder, case.home)
    found = complaints(ended, own_memory=case.own_memory)
    if ended.code not in (0, 1):
        found.append(f"ended with {ended.code}: {ended.err[-300:]!r}")
    for path in out.rglob("*") if out.exists() else ():
        # What tells the user which of the table's files was refused has to name it.
        refused = path.name == "refused.csv" or path.parent.name == "refused"
        if path.is_file() and not refused and NAME.encode() in path.read_bytes():
            found.append(f"the patient's name stands in {path.name}")
        if path.name == "refused.csv" and str(case.folder).encode() in path.read_bytes():
            found.append("a whole path stands in refused.csv")
    return 1, found
