"""Run by the worker's interpreter, not by Slicer: puts our own packages in front of all others and becomes the worker.

    PythonSlicer startWorker.py --packages FOLDER            the worker
    PythonSlicer startWorker.py --packages FOLDER --check    a line of JSON: which packages were found, and where
    … --shared-torch FOLDER                                  PyTorch comes from there, such as from Slicer's own Python

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
    "nibabel": "nibabel",
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
    parser.add_argument("--shared-torch", help="folder that torch may come from in place of that of --packages")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--torch", default="", help="with --check: the version torch has to be, with its build's label")
    parser.add_argument("--device", default="", help="with --check: what it has to compute on: cpu, cuda or mps")
    options = parser.parse_args()
    folder = Path(options.packages).resolve() if options.packages else None
    torchFolder = Path(options.shared_torch).resolve() if options.shared_torch else folder
    arrangePath(folder)
    if options.check:
        print(json.dumps(examined(folder, torchFolder, options.torch, options.device)), flush=True)
        return 0
    leadOwnGroup()
    problem = problemWith(folder, torchFolder)
    if problem:
        sayFailed(problem)
        return 1
    sys.argv = ["vcm.worker"]
    from vcm.worker.__main__ import main as work

    return work()


def arrangePath(folder: Path | None) -> None:
    """Our packages first, then the engine, then the rest; never this script's own folder, whose names are Slicer's."""
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    sys.path[:] = [*([str(folder)] if folder else []), str(HERE.parents[1]), *rest]


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


def problemWith(folder: Path | None, torchFolder: Path | None = None) -> str:
    """What is wrong with the packages, as a sentence; empty where all are there and come from their folder."""
    for package in NEEDED:
        place = placeOf(package)
        if place is None:
            return f"The environment lacks the package {package}."
        own = torchFolder if package == "torch" and torchFolder is not None else folder
        if own is not None and own not in place.parents:
            return f"The package {package} came from {place.parent} in place of the environment's own folder."
    return ""


def sayFailed(sentence: str) -> None:
    """Tell the client in the protocol's own words."""
    from vcm.core.errors import Code
    from vcm.protocol import Failed, encode

    failed = Failed("", Code.INTERNAL, sentence, "Set the environment up again.", {"environment": True})
    sys.stdout.buffer.write(encode(failed))
    sys.stdout.buffer.flush()


def examined(
    folder: Path | None, torchFolder: Path | None = None, wantedTorch: str = "", wantedDevice: str = ""
) -> dict[str, object]:
    """Whether the packages are there, are those that were asked for, load and compute; with their versions.

    `problem` is empty where they can be used, and `deviceProblem` where they compute on what they should.
    """
    problem = problemWith(folder, torchFolder)
    versions = {"python": sys.version.split()[0]}
    device, deviceProblem = "", ""
    if not problem:
        try:
            device = computed()
            problem = wrongBuild(wantedTorch)
        except Exception as error:
            problem = f"The packages are there but do not work: {type(error).__name__}: {error}"
    if not problem and wantedDevice not in ("", "cpu"):
        deviceProblem = cannotComputeOn(wantedDevice)
    for package in NEEDED.values():
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not found"
    return {"problem": problem, "versions": versions, "device": device, "deviceProblem": deviceProblem}


def wrongBuild(wanted: str) -> str:
    """That torch is another version or build than the one that was asked for; empty where it is that one."""
    import torch

    found = str(torch.__version__)
    same = found == wanted if "+" in wanted else found.partition("+")[0] == wanted
    return "" if not wanted or same else f"PyTorch {found} was installed in place of {wanted}."


def cannotComputeOn(device: str) -> str:
    """Why a graphics card does not compute, as a sentence; empty where it does. A sum is made on it."""
    import torch

    available = torch.cuda.is_available() if device == "cuda" else torch.backends.mps.is_available()
    if not available:
        return "PyTorch finds no graphics card that it can use; its driver may be missing or too old."
    try:
        sumOn(device)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"The graphics card does not compute with PyTorch {torch.__version__}: {reason}"
    return ""


def computed() -> str:
    """Load all packages and compute a little with them; the device in words."""
    for package in NEEDED:
        importlib.import_module(package)
    import torch

    sumOn("cpu")
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "mps" if torch.backends.mps.is_available() else "cpu"


def sumOn(device: str) -> None:
    """Compute a little on a device; an ArithmeticError where it comes out wrong."""
    import numpy
    import torch

    image = torch.from_numpy(numpy.ones((1, 1, 4, 5, 6), numpy.float32)).to(device)
    total = float(torch.nn.functional.conv3d(image, torch.ones(1, 1, 2, 2, 2).to(device)).sum())
    if total != 8.0 * 3 * 4 * 5:
        raise ArithmeticError(f"a sum came out as {total}")


if __name__ == "__main__":
    sys.exit(main())
