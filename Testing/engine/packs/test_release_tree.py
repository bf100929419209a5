"""What is published: one commit that the extension index takes, and packs beside it that can be fetched back."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from file_server import serve_files
from vcm.outputs.record import RECORD
from vcm.packs import catalogue
from vcm.packs.acquiring import Consent, acquire
from vcm.packs.catalogue import find_entry, read_catalogue
from vcm.packs.store import verify

ROOT = Path(__file__).parents[3]
INDEX_LIMIT = 100 * 1024 * 1024
LIMIT = 90_000_000

if not (ROOT / ".git").exists() or shutil.which("git") is None:
    pytest.skip("what is published is made from git's last commit", allow_module_level=True)

import release_tree  # noqa: E402

PACKS = release_tree.tomllib.loads(release_tree.SETTINGS.read_text("utf-8"))["packs"]


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The release as it is made today."""
    out = tmp_path_factory.mktemp("release") / "tree"
    return out, release_tree.write_release(out, ROOT, LIMIT, PACKS)


@pytest.fixture(scope="module")
def small(tmp_path_factory, whole):
    """A release that may only be so large that one pack more has to leave."""
    out = tmp_path_factory.mktemp("release") / "tree"
    return out, release_tree.write_release(out, ROOT, release_tree.size_of(whole[0]) - 1_000_000, PACKS)


def test_the_tree_is_one_commit_of_what_is_committed_here(whole):
    """But for packs that do not fit, with their lines in the catalogue and in the list of installed files."""
    out, assets = whole
    assert git(out, "rev-list", "--all", "--count").strip() == "1"
    assert git(out, "status", "--porcelain") == ""
    away = tuple(f"{release_tree.EMBEDDED}/{asset.pack}/" for asset in assets)
    changed = (release_tree.CATALOGUE, release_tree.INSTALLED_FILES) if assets else ()

    def files(folder):
        lines = [line.split("\t") for line in git(folder, "ls-tree", "-r", "HEAD").splitlines()]
        return {path: blob for blob, path in lines if not path.startswith(away) and path not in changed}

    assert files(out) == files(ROOT) and len(files(out)) > 500
    assert [asset.pack for asset in assets] == PACKS[::-1][: len(assets)], "the least wanted leave first"


def test_a_full_clone_is_small_enough_for_the_index(whole, tmp_path):
    git(tmp_path, "clone", "--quiet", "--no-hardlinks", str(whole[0]), "clone")
    assert release_tree.size_of(tmp_path / "clone") < LIMIT < INDEX_LIMIT


def test_a_pack_that_does_not_fit_leaves_tree_and_list_of_installed_files(whole, small):
    out, assets = small
    left = [asset.pack for asset in assets]
    assert left == PACKS[::-1][: len(whole[1]) + 1]
    kept = {path.name for path in (out / release_tree.EMBEDDED).iterdir()}
    assert kept == set(PACKS) - set(left)
    listed = (out / release_tree.INSTALLED_FILES).read_text("utf-8")
    assert f"embedded/{left[-1]}/" not in listed and f"embedded/{PACKS[0]}/" in listed
    assert git(out, "ls-files", f"{release_tree.EMBEDDED}/{left[-1]}") == ""


def test_the_tree_s_catalogue_brings_the_pack_back(small, tmp_path, monkeypatch):
    out, (*others, asset) = small
    original = ROOT / release_tree.EMBEDDED / asset.pack
    entry = json.loads((out / release_tree.CATALOGUE).read_text("utf-8"))["entries"][-1]
    (file,) = entry["files"]
    address = json.loads((out / release_tree.ENTRY).read_text("utf-8"))["scm_url"]
    assert file["url"].startswith(f"{address}/releases/download/v") and file["url"].endswith(f"/{asset.file.name}")
    names = [entry.name for entry in read_catalogue(out / release_tree.CATALOGUE)]
    own = [entry.name for entry in read_catalogue(catalogue.CATALOGUE)]
    assert names == [*own, *(other.pack for other in others), asset.pack]

    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    monkeypatch.setattr("vcm.packs.store.EMBEDDED", out / release_tree.EMBEDDED)
    monkeypatch.setattr("vcm.packs.installation.EMBEDDED", out / release_tree.EMBEDDED)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve_files({f"/{asset.file.name}": asset.file.read_bytes()}) as site:
        file["url"] = site.url(f"/{asset.file.name}")
        (tmp_path / "catalogue.json").write_text(json.dumps({"format": 1, "entries": [entry]}))
        (pack,) = acquire(find_entry(asset.pack, tmp_path / "catalogue.json"), Consent())
    verify(pack)
    assert {path.name: path.read_bytes() for path in pack.folder.iterdir() if path.name != RECORD} == {
        path.name: path.read_bytes() for path in original.iterdir() if path.is_file()
    }


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SystemExit, match="not an empty folder"):
        release_tree.write_release(tmp_path, ROOT, LIMIT, PACKS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_pack_that_the_release_does_not_list_is_not_forgotten(tmp_path):
    with pytest.raises(SystemExit, match="lists the packs"):
        release_tree.write_release(tmp_path / "tree", ROOT, LIMIT, PACKS[1:])


def test_a_limit_that_cannot_be_kept_is_said(tmp_path):
    with pytest.raises(SystemExit, match="alone the tree has"):
        release_tree.write_release(tmp_path / "tree", ROOT, 1_000_000, PACKS)
