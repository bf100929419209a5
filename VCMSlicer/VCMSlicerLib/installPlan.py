"""What setting up the environment will download and where to, in words, before anything happens."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from VCMSlicerLib.commandSequence import Step
from VCMSlicerLib.packageFolder import REQUIREMENTS, PackageFolder

GIGABYTE = 1e9
CPU, NVIDIA, APPLE = "cpu", "nvidia", "apple"
TORCH_INDEX = "https://download.pytorch.org/whl/"
CUDA = "cu126"
# What torch and its companions weigh, downloaded and unpacked; measured for the processor, rounded up for the others.
SIZES = {CPU: (0.4e9, 1.4e9), APPLE: (0.3e9, 1.2e9), NVIDIA: (3.2e9, 7.5e9)}
RAW_PROGRESS_SINCE, RESUME_SINCE = (24, 1), (25, 1)
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
WHEELS_ALONE = ("--only-binary", ":all:")


@dataclass(frozen=True)
class InstallPlan:
    """One way to set the environment up: for which processor, from where, how big, in which folder."""

    processor: str
    folder: PackageFolder
    downloadBytes: int
    diskBytes: int
    wheels: Path | None = None

    @property
    def words(self) -> str:
        """What the user is asked to agree to."""
        what = _("PyTorch and MONAI are put into a folder of their own; Slicer's own packages are not touched.")
        if self.wheels is not None:
            size = _("Nothing is downloaded: the files are taken from {wheels}.").format(wheels=self.wheels)
        else:
            size = _("About {download:.1f} GB are downloaded.").format(download=self.downloadBytes / GIGABYTE)
        place = _("About {disk:.1f} GB of disk are taken in {folder}.")
        return " ".join([what, size, place.format(disk=self.diskBytes / GIGABYTE, folder=self.folder.folder)])

    @property
    def enoughDisk(self) -> bool:
        """Whether the disk has room for the downloads and what they unpack to."""
        return freeDisk(self.folder.folder) > self.downloadBytes + self.diskBytes

    def resolve(self, python: str) -> list[Step]:
        """Programs that find out which files make up the packages; none where they are here already."""
        if self.wheels is not None:
            return []
        wanted = ("--dry-run", "--ignore-installed", "--report", str(self.report), *WHEELS_ALONE, *self._index())
        return [Step(_("Looking for the packages"), python, (*PIP, "install", *wanted, "-r", str(REQUIREMENTS)))]

    def fetch(self, python: str, pipVersion: tuple[int, ...]) -> list[Step]:
        """Programs that download those files one by one, so that each is kept as soon as it is whole."""
        if self.wheels is not None:
            return []
        bar = ("--progress-bar", "raw" if pipVersion >= RAW_PROGRESS_SINCE else "off")
        resume = ("--resume-retries", "5") if pipVersion >= RESUME_SINCE else ()
        get = (*PIP, "download", "--no-deps", *bar, *resume, "--dest", str(self.folder.wheels))
        entries = json.loads(self.report.read_text("utf-8"))["install"]
        words = _("Downloading {number} of {count}: {name}")
        steps = []
        for number, entry in enumerate(entries, start=1):
            title = words.format(number=number, count=len(entries), name=entry["metadata"]["name"])
            steps.append(Step(title, python, (*get, _url(entry))))
        return steps

    def unpack(self, python: str, script: Path) -> list[Step]:
        """Programs that unpack the files into a folder of their own and check what came of it."""
        source = ("--no-index", "--find-links", str(self.wheels or self.folder.wheels), *WHEELS_ALONE)
        place = ("--progress-bar", "off", "--no-warn-script-location", "--target", str(self.folder.partial))
        return [
            Step(_("Unpacking"), python, (*PIP, "install", *source, *place, "-r", str(REQUIREMENTS))),
            Step(_("Checking"), python, (str(script), "--packages", str(self.folder.partial), "--check")),
        ]

    @property
    def report(self) -> Path:
        """Where pip writes which files it would take."""
        return self.folder.wheels / "files.json"

    def _index(self) -> tuple[str, ...]:
        # PyPI has the build for NVIDIA on Linux and the only one there is on a Mac; all others are on PyTorch's own.
        if self.processor == APPLE or (self.processor == NVIDIA and sys.platform == "linux"):
            return ()
        return ("--extra-index-url", TORCH_INDEX + (CUDA if self.processor == NVIDIA else CPU))


def makePlan(folder: PackageFolder, wheels: Path | None = None, processor: str | None = None) -> InstallPlan:
    """The plan for this machine; `wheels` is a folder of downloaded files for a machine without internet."""
    processor = processor or likelyProcessor()
    download, disk = SIZES[processor]
    return InstallPlan(processor, folder, 0 if wheels else int(download), int(disk), wheels)


def likelyProcessor() -> str:
    """What the machine computes on, as far as that can be told without torch."""
    if sys.platform == "darwin":
        return APPLE
    return NVIDIA if hasNvidiaDriver() else CPU


def hasNvidiaDriver() -> bool:
    """Whether a driver for NVIDIA's graphics cards is there."""
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    cards = Path("/proc/driver/nvidia/gpus")
    return cards.is_dir() and any(cards.iterdir())


def freeDisk(folder: Path) -> int:
    """Bytes free on the disk of a folder that need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _url(entry: dict[str, Any]) -> str:
    """The address of a file with its hash, which pip compares; an entry of pip's installation report."""
    information = entry["download_info"]
    sha256 = information.get("archive_info", {}).get("hashes", {}).get("sha256")
    return f"{information['url']}#sha256={sha256}" if sha256 else str(information["url"])
