"""The worker's own packages: a folder next to the user's data that no other extension touches and one click removes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from VCMSlicerLib.install.userFolders import dataFolder

MARKER = "environment.json"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "worker-requirements.txt"


@dataclass(frozen=True)
class PackageFolder:
    """`packages` is what the worker imports from, `wheels` what was downloaded so far, `partial` what is not yet
    checked; they appear in the order wheels, partial, packages, and the last step is a rename."""

    folder: Path

    @classmethod
    def ofThisPython(cls, parent: Path | None = None) -> PackageFolder:
        """Compiled packages fit one version of Python on one kind of machine."""
        tag = f"py{sys.version_info.major}{sys.version_info.minor}"
        return cls((parent or dataFolder()) / "environment" / tag)

    @property
    def packages(self) -> Path:
        """The checked packages."""
        return self.folder / "packages"

    @property
    def partial(self) -> Path:
        """Packages that are being unpacked or checked."""
        return self.folder / "packages.part"

    @property
    def wheels(self) -> Path:
        """Downloads; what is here need not be downloaded again."""
        return self.folder / "wheels"

    @property
    def ready(self) -> bool:
        """Whether it was set up and checked for the requirements of this version of the module."""
        return self.packages.is_dir() and self.marker().get("requirements") == requirementsDigest()

    @property
    def outdated(self) -> bool:
        """Whether it was set up for another version of the module."""
        return self.packages.is_dir() and not self.ready

    @property
    def begun(self) -> bool:
        """Whether a setting up was broken off and can go on where it was."""
        return any(self.wheels.glob("*.whl"))

    def marker(self) -> dict[str, Any]:
        """What was found when it was checked: `versions`, `device`, `processor`."""
        try:
            content = json.loads((self.folder / MARKER).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def prepare(self) -> None:
        """Make room for unpacking anew."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.wheels.mkdir(parents=True, exist_ok=True)

    def finish(self, found: dict[str, Any]) -> None:
        """The partial packages are good: put them in place, and let go of the downloads."""
        old = self.folder / "packages.old"
        shutil.rmtree(old, ignore_errors=True)
        (self.folder / MARKER).unlink(missing_ok=True)
        if self.packages.exists():
            self.packages.replace(old)
        self.partial.replace(self.packages)
        partial = self.folder / f"{MARKER}.part"
        partial.write_text(json.dumps({"requirements": requirementsDigest(), **found}, indent=1), "utf-8")
        partial.replace(self.folder / MARKER)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.wheels, ignore_errors=True)

    def remove(self) -> None:
        """Remove all of it; an OSError says what could not be removed."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def sizeBytes(self) -> int:
        """How much of the disk it takes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink())


def requirementsDigest() -> str:
    """Which requirements this version of the module has, as a hash."""
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
