"""What several files of tests share: the tiny model as packs on disk, made once."""

import os

import pytest
import tiny


@pytest.fixture(scope="session")
def tiny_packs(tmp_path_factory):
    """A packs' folder with the backbone `tiny` and its control `tiny-both`; nobody changes it."""
    folder = tmp_path_factory.mktemp("tiny") / "packs"
    tiny.write_packs(folder)
    for place in (folder, *folder.parents[:2]):
        place.chmod(0o755)
    return folder


@pytest.fixture
def with_tiny_packs(tiny_packs, monkeypatch):
    """The command line finds the tiny packs beside the embedded ones."""
    monkeypatch.setenv("VCM_PACKS", os.fspath(tiny_packs))
    return tiny_packs
