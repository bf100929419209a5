"""Write the tree that is published, as one commit of a new history, and the packs that do not fit beside it.

`make release-tree OUT=folder` takes what is committed in this repository. Packs that would make the tree larger than
release.toml allows become files in `folder`-assets, to be attached to the release of this version; the tree's catalogue
then names each with its address, size and hash, and `vcm packs get NAME` fetches it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every member of an archive, so that the same pack makes the same archive, byte for byte."""

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = Path(__file__).with_name("release.toml")
EMBEDDED = "VCMSlicer/vcm/packs/embedded"
CATALOGUE = "VCMSlicer/vcm/packs/catalogue.json"
INSTALLED_FILES = "VCMSlicer/Files.cmake"
ENTRY = "BrainMRISynthesis.json"
ROLES = ("AUTHOR", "COMMITTER")
AUTHOR = ("VCMSlicer contributors", "noreply@example.org")


@dataclass(frozen=True)
class Asset:
    """A pack that is offered beside the tree."""

    pack: str
    file: Path
    url: str

    @property
    def size(self) -> int:
        return self.file.stat().st_size

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()


def write_release(out: Path, repository: Path, limit: int, packs: list[str]) -> list[Asset]:
    """Write the tree into `out` and return the assets written beside it."""
    assets_folder = out.with_name(out.name + "-assets")
    for folder in (out, assets_folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SystemExit(f"{folder} is not an empty folder. Choose another OUT, or remove it first.")
    out.mkdir(parents=True, exist_ok=True)
    _check_out(repository, out)
    embedded = {path.name for path in (out / EMBEDDED).iterdir()}
    if embedded != set(packs):
        raise SystemExit(f"release.toml lists the packs {sorted(packs)}, the tree holds {sorted(embedded)}.")
    assets: list[Asset] = []
    keep = list(packs)
    while True:
        _commit(out)
        size = size_of(out)
        if size <= limit:
            return assets
        if len(keep) == 1:
            raise SystemExit(f"Even with {keep[0]} alone the tree has {size / 1e6:.1f} MB of {limit / 1e6:.1f} MB.")
        # In one go as many as are needed: the packs' bytes count twice, in the tree and in .git.
        surplus = size - limit
        while surplus > 0 and len(keep) > 1:
            name = keep.pop()
            surplus -= 2 * size_of(out / EMBEDDED / name)
            assets.append(_take_out(out, name, assets_folder))


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder, `.git` included."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _check_out(repository: Path, out: Path) -> None:
    with (
        subprocess.Popen(["git", "archive", "--format=tar", "HEAD"], cwd=repository, stdout=subprocess.PIPE) as archive,
        tarfile.open(fileobj=archive.stdout, mode="r|") as tar,
    ):
        tar.extractall(out, filter="data")
    if archive.returncode:
        raise SystemExit(f"git archive failed in {repository}.")


def archive_pack(folder: Path, target: Path) -> None:
    """Write the pack of a folder into one zip file; weights are stored as they are, since they do not compress."""
    from vcm.outputs.claims import entries_of

    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(entry for entry in entries_of(folder) if entry.is_file()):
            archive.writestr(zipfile.ZipInfo(file.name, EARLIEST), file.read_bytes())


def _take_out(out: Path, name: str, assets_folder: Path) -> Asset:
    sys.path.insert(0, str(ROOT / "VCMSlicer"))
    from vcm.packs.manifest import ControlManifest
    from vcm.packs.manifest_reading import read_manifest

    folder = out / EMBEDDED / name
    manifest = read_manifest(folder)
    assets_folder.mkdir(exist_ok=True)
    file = assets_folder / f"{name}-{manifest.version}.zip"
    archive_pack(folder, file)
    address = json.loads((out / ENTRY).read_text("utf-8"))["scm_url"]
    version = tomllib.loads((out / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    asset = Asset(name, file, f"{address}/releases/download/v{version}/{file.name}")

    licence = manifest.licence
    entry = {
        "name": name,
        "title": manifest.title,
        "description": manifest.description or manifest.title,
        "kind": manifest.kind,
        **({"backbone": manifest.backbone.name} if isinstance(manifest, ControlManifest) else {}),
        "automatic": True,
        "page": f"{address}/releases",
        "licence": {
            "name": licence.name,
            "url": licence.url,
            "summary": licence.note or f"The weights are under {licence.name}.",
            "must_accept": False,
        },
        "files": [
            {"role": "pack", "filename": file.name, "url": asset.url, "size": asset.size, "sha256": asset.sha256}
        ],
    }
    catalogue = json.loads((out / CATALOGUE).read_text("utf-8"))
    catalogue["entries"].append(entry)
    (out / CATALOGUE).write_text(json.dumps(catalogue, indent=1, ensure_ascii=False) + "\n", "utf-8")

    prefix = f"  vcm/packs/embedded/{name}/"
    lines = (out / INSTALLED_FILES).read_text("utf-8").splitlines(keepends=True)
    (out / INSTALLED_FILES).write_text("".join(line for line in lines if not line.startswith(prefix)), "utf-8")
    shutil.rmtree(folder)
    return asset


def _commit(out: Path) -> None:
    shutil.rmtree(out / ".git", ignore_errors=True)
    version = tomllib.loads((out / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    name, email = AUTHOR
    people = {f"GIT_{role}_NAME": name for role in ROLES} | {f"GIT_{role}_EMAIL": email for role in ROLES}
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=out, check=True, env={**os.environ, **people, **plain})

    git("init", "--quiet", "--template=", "--initial-branch=main")
    git("add", "--all", "--force")
    git("commit", "--quiet", "--message", f"VCMSlicer {version}")


def main() -> None:
    """Read the options and say what was written."""
    settings = tomllib.loads(SETTINGS.read_text("utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder to write; its assets go into OUT-assets beside it")
    parser.add_argument("--limit-bytes", type=int, default=settings["limit_bytes"], help="default: release.toml's")
    options = parser.parse_args()
    assets = write_release(options.out.resolve(), ROOT, options.limit_bytes, settings["packs"])
    print(f"{options.out}: one commit, {size_of(options.out) / 1e6:.1f} MB with .git")
    for asset in assets:
        print(f"attach to the release: {asset.file} ({asset.size / 1e6:.1f} MB), fetched from {asset.url}")
    if not assets:
        print("all packs fit; there is nothing to attach to the release")


if __name__ == "__main__":
    main()
