"""Run by the worker's interpreter, not by Slicer: puts our own packages in front of all others and becomes the worker.

    PythonSlicer startWorker.py --packages FOLDER            the worker
    PythonSlicer startWorker.py --packages FOLDER --check    a line of JSON: which packages were found, and where

Slicer's launcher fills PYTHONPATH with packages in versions of its own; what the worker imports must come from FOLDER.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What each is imported as, and what it is installed as.
NEEDED = {
    "numpy": "numpy",
    "torch": "torch",
    "monai": "monai",
    "SimpleITK": "SimpleITK",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "einops": "einops",
    "jsonschema": "jsonschema",
    "PIL": "pillow",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
}


def main() -> int:
    """Read the command line, and be the worker or check its packages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", help="folder made by pip install --target; without it, the interpreter's own")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    folder = Path(options.packages).resolve() if options.packages else None
    arrangePath(folder)
    if options.check:
        print(json.dumps(examined(folder)), flush=True)
        return 0
    leadOwnGroup()
    problem = problemWith(folder)
    if problem:
        sayFailed(problem)
        return 1
    sys.argv = ["vcm.worker"]
    from vcm.worker.__main__ import main as work

    return work()


def arrangePath(folder: Path | None) -> None:
    """Our packages first, then the engine, then the rest; never this script's own folder, whose names are Slicer's."""
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    sys.path[:] = [*([str(folder)] if folder else []), str(HERE.parent), *rest]


def leadOwnGroup() -> None:
    """Have a process group of our own, so that it can be ended with all its children and without Slicer."""
    if hasattr(os, "setpgid"):
        try:
            os.setpgid(0, 0)
        except OSError:
            return


def placeOf(package: str) -> Path | None:
    """Where a package would be imported from; nothing is imported."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    return Path(found.origin).resolve() if found and found.origin else None


def problemWith(folder: Path | None) -> str:
    """What is wrong with the packages, as a sentence; empty where all are there and come from the folder."""
    for package in NEEDED:
        place = placeOf(package)
        if place is None:
            return f"The environment lacks the package {package}."
        if folder is not None and folder not in place.parents:
            return f"The package {package} came from {place.parent} in place of the environment's own folder."
    return ""


def sayFailed(sentence: str) -> None:
    """Tell the client in the protocol's own words."""
    from vcm.errors import Code
    from vcm.protocol import Failed, encode

    failed = Failed("", Code.INTERNAL, sentence, "Set the environment up again.", {"environment": True})
    sys.stdout.buffer.write(encode(failed))
    sys.stdout.buffer.flush()


def examined(folder: Path | None) -> dict[str, object]:
    """Whether the packages are there, load and compute; with their versions."""
    problem = problemWith(folder)
    versions = {"python": sys.version.split()[0]}
    device = ""
    if not problem:
        try:
            device = computed()
        except Exception as error:
            problem = f"The packages are there but do not work: {type(error).__name__}: {error}"
    for package in NEEDED.values():
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not found"
    return {"problem": problem, "versions": versions, "device": device}


def computed() -> str:
    """Load all packages and compute a little with them; the device in words."""
    for package in NEEDED:
        importlib.import_module(package)
    import numpy
    import torch

    image = torch.from_numpy(numpy.ones((1, 1, 4, 5, 6), numpy.float32))
    total = float(torch.nn.functional.conv3d(image, torch.ones(1, 1, 2, 2, 2)).sum())
    if total != 8.0 * 3 * 4 * 5:
        raise ArithmeticError(f"a sum came out as {total}")
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "mps" if torch.backends.mps.is_available() else "cpu"


if __name__ == "__main__":
    sys.exit(main())
