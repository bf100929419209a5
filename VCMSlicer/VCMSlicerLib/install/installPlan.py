"""What setting up the environment will download and where to, in words, before anything happens."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from VCMSlicerLib.install.commandSequence import Step
from VCMSlicerLib.install.nvidiaCards import hasNvidiaDriver
from VCMSlicerLib.install.packageFolder import REQUIREMENTS, PackageFolder
from VCMSlicerLib.install.torchBuild import APPLE, CPU, NVIDIA, InstalledTorch, TorchBuild, chooseBuild

GIGABYTE = 1e9
# What torch and its companions weigh, downloaded and unpacked; measured for the processor, rounded up for the others.
SIZES = {CPU: (0.4e9, 1.4e9), APPLE: (0.3e9, 1.2e9), NVIDIA: (3.2e9, 7.5e9)}
SIZE_WITHOUT_TORCH = (0.2e9, 0.5e9)
TORCH, NEEDS_TORCH = "torch", ("monai",)
RAW_PROGRESS_SINCE, RESUME_SINCE = (24, 1), (25, 1)
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input")
WHEELS_ALONE = ("--only-binary", ":all:")


@dataclass(frozen=True)
class InstallPlan:
    """One way to set the environment up: which build of PyTorch, from where, how big, in which folder.

    With `shared` it is Slicer's own PyTorch that is used, and only the rest is put into the folder.
    """

    build: TorchBuild
    folder: PackageFolder
    downloadBytes: int
    diskBytes: int
    wheels: Path | None = None
    shared: InstalledTorch | None = None

    @property
    def processor(self) -> str:
        """What it will compute on."""
        return self.shared.processor if self.shared is not None else self.build.processor

    @property
    def words(self) -> str:
        """What the user is asked to agree to."""
        what = _("PyTorch and MONAI are put into a folder of their own; Slicer's own packages are not touched.")
        if self.shared is not None:
            what = _(
                "PyTorch {version}, which is in Slicer already, is used. MONAI and others are put into a folder of "
                "their own; Slicer's own packages are not touched."
            ).format(version=self.shared.version)
        if self.wheels is not None:
            size = _("Nothing is downloaded: the files are taken from {wheels}.").format(wheels=self.wheels)
        else:
            size = _("About {download:.1f} GB are downloaded.").format(download=self.downloadBytes / GIGABYTE)
        place = _("About {disk:.1f} GB of disk are taken in {folder}.")
        place = place.format(disk=self.diskBytes / GIGABYTE, folder=self.folder.folder)
        return " ".join(filter(None, [self.build.remark if self.shared is None else "", what, size, place]))

    @property
    def enoughDisk(self) -> bool:
        """Whether the disk has room for the downloads and what they unpack to."""
        return freeDisk(self.folder.folder) > self.downloadBytes + self.diskBytes

    def resolve(self, python: str) -> list[Step]:
        """Programs that find out which files make up the packages; none where they are here already."""
        if self.wheels is not None:
            return []
        index = ("--extra-index-url", self.build.index) if self.build.index and self.shared is None else ()
        wanted = ("--dry-run", "--ignore-installed", *WHEELS_ALONE, *index)
        return [
            Step(
                _("Looking for the packages"),
                python,
                (*PIP, "install", *wanted, "--report", str(report), *alone, *packages),
            )
            for report, alone, packages in self._groups()
        ]

    def fetch(self, python: str, pipVersion: tuple[int, ...]) -> list[Step]:
        """Programs that download those files one by one, so that each is kept as soon as it is whole."""
        if self.wheels is not None:
            return []
        bar = ("--progress-bar", "raw" if pipVersion >= RAW_PROGRESS_SINCE else "off")
        resume = ("--resume-retries", "5") if pipVersion >= RESUME_SINCE else ()
        get = (*PIP, "download", "--no-deps", *bar, *resume, "--dest", str(self.folder.wheels))
        reports = [json.loads(report.read_text("utf-8")) for report, _alone, _packages in self._groups()]
        entries = [entry for report in reports for entry in report["install"]]
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
        unpacking = [
            Step(_("Unpacking"), python, (*PIP, "install", *source, *place, *alone, *packages))
            for _report, alone, packages in self._groups()
        ]
        return [*unpacking, Step(_("Checking"), python, (str(script), *self.checkArguments))]

    @property
    def checkArguments(self) -> tuple[str, ...]:
        """What `startWorker.py` is to check: that the packages are those asked for, and compute where they should."""
        if self.shared is not None:
            return ("--packages", str(self.folder.partial), "--shared-torch", str(self.shared.folder), "--check")
        version = self.build.requirement(_pinned()[TORCH]).partition("==")[2]
        # A folder of wheels may hold any build of that version.
        build = ("--torch", version) if self.wheels is None else ()
        return ("--packages", str(self.folder.partial), "--check", *build, "--device", self.build.device)

    def _groups(self) -> list[tuple[Path, tuple[str, ...], tuple[str, ...]]]:
        """What is installed together: pip's report, its options, and the packages.

        Without a PyTorch of our own, what needs PyTorch must not bring one along, so it comes without what it needs.
        """
        whole = ("-r", str(REQUIREMENTS))
        if self.shared is None:
            asked = (self.build.requirement(_pinned()[TORCH]),) if self.wheels is None and self.build.index else ()
            return [(self.report, (), (*whole, *asked))]
        lines = {name: f"{name}=={version}" for name, version in _pinned().items() if name != TORCH}
        rest = tuple(line for name, line in lines.items() if name not in NEEDS_TORCH)
        needing = tuple(line for name, line in lines.items() if name in NEEDS_TORCH)
        groups: list[tuple[Path, tuple[str, ...], tuple[str, ...]]] = [(self.report, (), rest)] if rest else []
        more = self.report.with_name("files-without-what-they-need.json")
        return [*groups, (more, ("--no-deps",), needing)] if needing else groups

    @property
    def report(self) -> Path:
        """Where pip writes which files it would take."""
        return self.folder.wheels / "files.json"


def makePlan(
    folder: PackageFolder,
    wheels: Path | None = None,
    processor: str | None = None,
    shared: InstalledTorch | None = None,
) -> InstallPlan:
    """The plan for this machine; `wheels` is a folder of downloaded files for a machine without internet, `shared` the
    PyTorch of Slicer's own Python, to be used in place of another."""
    build = chooseBuild(processor)
    download, disk = SIZE_WITHOUT_TORCH if shared is not None else SIZES[build.processor]
    return InstallPlan(build, folder, 0 if wheels else int(download), int(disk), wheels, shared)


def likelyProcessor() -> str:
    """What the machine computes on, as far as that is known without torch."""
    if sys.platform == "darwin":
        return APPLE
    return NVIDIA if hasNvidiaDriver() else CPU


def _pinned() -> dict[str, str]:
    """The requirements: version by name."""
    lines = [line.strip() for line in REQUIREMENTS.read_text("utf-8").splitlines()]
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


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
