"""A model that is not here, told by mouse: its terms, its download, broken off and gone on with, and a file at hand."""

import sys
import time
from pathlib import Path

import pytest
from opened import MODULE, TESTING, _open
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from slicerStandIn.testing.mouse import click
from vcm.packs import catalogue as catalogue_module
from vcm.protocol import Transfer
from VCMSlicerLib.engine.jobState import JobState
from VCMSlicerLib.install import environment
from VCMSlicerLib.models import packOffers
from VCMSlicerLib.panels.downloadPanel import transferWords
from VCMSlicerLib.scene.parameters import Quality

sys.path.append(str(TESTING / "engine" / "support"))
from file_server import serve_files
from own_catalogue import write_catalogue
from sample_packs import make_checkpoints

# What the module starts as its worker, with another catalogue and no proxy in the way to this machine's own server.
WORKER = """
import os, runpy, sys
from pathlib import Path
for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[name]
sys.path.insert(0, {module!r})
from vcm.packs import catalogue
catalogue.CATALOGUE = Path({catalogue!r})
sys.path.pop(0)
runpy.run_path({script!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("published"))


@pytest.fixture
def site(published):
    with serve_files({f"/{path.name}": path.read_bytes() for path in published.values()}) as running:
        yield running


@pytest.fixture
def opened(site, published, tmp_path, monkeypatch, mainWindow, loadModule):
    """The module with a catalogue of the test's own and no packs but what ships."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("VCM_PACKS", str(tmp_path / "packs"))
    catalogue = write_catalogue(tmp_path / "catalogue.json", site, published)
    monkeypatch.setattr(catalogue_module, "CATALOGUE", catalogue)
    script = tmp_path / "worker.py"
    script.write_text(
        WORKER.format(module=str(MODULE.parent), catalogue=str(catalogue), script=str(environment.START_SCRIPT))
    )
    monkeypatch.setattr(environment, "START_SCRIPT", script)
    yield from _open(tmp_path, mainWindow, loadModule, "remote")


def terms(opened):
    """The window with the terms."""
    return opened.panel.downloads.dialog.ui


def download(opened):
    return opened.panel.downloads.download


def askFor(opened):
    """Press the button in the section Model, read the terms and accept them."""
    opened.press(opened.ui.getModelButton)
    ui = terms(opened)
    assert ui.offerTitleLabel.isVisible()
    click(ui.offerAcceptBox)
    processEvents(0.05)
    return ui


def test_not_here_download_cancel_go_on_and_generate(opened, site, published):
    ui = opened.ui
    assert "Not here yet" in ui.modelStateLabel.text and "comes first" in ui.generateHintLabel.text
    assert ui.getModelButton.isVisible() and ui.getModelButton.text == "Get Title…"

    opened.press(ui.getModelButton)
    window = terms(opened)
    assert "MB" in window.offerSizeLabel.text and "Some-1.0" in window.offerLicenceLabel.text
    assert "Be kind." in window.offerLicenceLabel.text
    assert not window.offerDownloadButton.enabled and not window.offerFileButton.enabled
    assert "Accept" in window.offerDownloadButton.toolTip
    click(window.offerCancelButton)
    processEvents(0.05)
    assert not window.offerTitleLabel.isVisible() and not download(opened).busy

    window = askFor(opened)
    assert site.requests == [], "no network before Download was pressed"
    site.slowly = (8192, 0.05)
    click(window.offerDownloadButton)
    waitUntil(lambda: " of " in ui.downloadLabel.text and "MB/s" in ui.downloadLabel.text, 60, "bytes and rate")
    assert ui.downloadArea.isVisible() and not ui.getModelButton.isVisible()
    waitUntil(lambda: ui.downloadProgressBar.value > 0, 60, "the first hundredth of the download")
    started = time.monotonic()
    opened.press(ui.downloadCancelButton)
    waitUntil(lambda: not download(opened).busy, 10, "the end of the download")
    assert time.monotonic() - started < 1.2
    processEvents(0.1)
    assert not ui.downloadArea.isVisible() and not ui.problemFrame.isVisible(), "what was asked for is no problem"
    assert ui.getModelButton.text == "Go on getting Title…"

    site.slowly = None
    window = askFor(opened)
    assert "are here already" in window.offerSizeLabel.text and window.offerDownloadButton.text == "Go on downloading"
    click(window.offerDownloadButton)
    waitUntil(lambda: not download(opened).busy, 90, "the end of the download")
    processEvents(0.2)
    assert len([asked for asked in site.requests if int(asked.get("Range", "bytes=0-")[6:-1]) > 0]) == 1
    assert opened.parameters.packName == "remote" and opened.panel.context.readyPack.name == "remote"
    assert not ui.getModelButton.isVisible() or "Get" not in ui.modelStateLabel.text
    opened.settle()
    assert ui.generateButton.enabled, ui.generateButton.toolTip
    volume = opened.logic.generate(pack="remote", steps=2, seed=1)
    assert volume.GetImageData().GetDimensions() == (16, 24, 32)


def test_generate_pressed_without_the_model_goes_on_when_it_is_here(opened, site):
    opened.parameters.quality = Quality.PREVIEW
    opened.press(opened.ui.generateButton)
    assert site.requests == [] and opened.client.state is JobState.IDLE
    window = terms(opened)
    click(window.offerAcceptBox)
    processEvents(0.05)
    click(window.offerDownloadButton)
    waitUntil(lambda: download(opened).busy, 10, "the download")
    processEvents(0.1)
    assert not opened.ui.generateButton.enabled and "on its way" in opened.ui.generateHintLabel.text
    waitUntil(lambda: len(opened.logic.results.rows()) == 1, 120, "the image")
    assert opened.logic.results.rows()[0].node.GetImageData().GetDimensions() == (16, 24, 32)


def test_generate_goes_on_beside_a_download(opened, site):
    site.slowly = (512, 0.05)
    click(askFor(opened).offerDownloadButton)
    waitUntil(lambda: " of " in opened.ui.downloadLabel.text, 60, "the first bytes")
    opened.choosePack("brainldm-mini")
    node = opened.logic.generate(steps=1, seed=3)
    assert node.GetImageData() is not None and download(opened).busy
    opened.press(opened.ui.downloadCancelButton)
    waitUntil(lambda: not download(opened).busy, 10, "the end of the download")
    assert opened.parameters.packName == "brainldm-mini", "another model chosen meanwhile stays"


def test_without_a_connection_a_sentence_says_what_helps_in_the_panel(opened, site):
    site.statuses = [404]
    click(askFor(opened).offerDownloadButton)
    waitUntil(lambda: not download(opened).busy, 60, "the failure")
    processEvents(0.1)
    told = opened.ui.problemLabel.text
    assert opened.ui.problemFrame.isVisible() and "has no such file" in told
    assert "From a file…" in told and "--from" not in told
    assert opened.ui.getModelButton.isVisible(), "it can be tried again"


def test_without_room_on_the_disk_it_is_not_begun(opened, site, monkeypatch):
    from VCMSlicerLib.panels.dialogs import getModelDialog

    monkeypatch.setattr(getModelDialog, "freeDisk", lambda _folder: 1000)
    window = askFor(opened)
    assert not window.offerDownloadButton.enabled and "room" in window.offerDownloadButton.toolTip
    click(window.offerCancelButton)
    assert site.requests == []


def test_a_control_without_a_licence_says_whom_to_ask_and_is_taken_from_a_file_alone(opened, site, published, dialogs):
    dialogs.answer(str(published["autoencoder"].parent))
    click(askFor(opened).offerFileButton)
    waitUntil(lambda: not download(opened).busy, 90, "the import")
    opened.settle()
    assert site.requests == [] and opened.panel.context.readyPack.name == "remote"
    box = opened.ui.controlBox
    box.setCurrentIndex(box.findData("by-hand"))
    box.activated.emit(box.currentIndex)
    processEvents(0.1)
    assert "Not here yet" in opened.ui.controlStateLabel.text
    window = askFor(opened)
    assert not window.offerDownloadButton.isVisible()
    assert "https://example.org/page" in window.offerHintLabel.text and "yourself" in window.offerHintLabel.text
    assert "asked the authors" in window.offerAcceptBox.text
    assert not window.offerFileButton.enabled, "nobody knows the hash of this file"
    click(window.offerTrustBox)
    processEvents(0.05)
    dialogs.answer(str(published["control"]))
    click(window.offerFileButton)
    waitUntil(lambda: not download(opened).busy, 90, "the import")
    opened.settle()
    assert site.requests == []
    assert opened.panel.context.control.name == "by-hand" and opened.parameters.controlName == "by-hand"


def test_the_text_of_a_licence_that_comes_with_the_program_is_shown():
    licence = Path(MODULE).parents[1] / "LICENSE"
    assert packOffers.licenceText(packOffers.findOffer("brainldm")) == licence.read_text("utf-8")


@pytest.mark.parametrize(
    ("transfer", "left", "words"),
    [
        (Transfer("a", "f", int(1.2e9), int(2.265e9), 1.12e7), 115, "1.20 of 2.27 GB · 11.2 MB/s · about 2 min left"),
        (Transfer("a", "f", 0, 80_000, None), None, "0.0 of 0.1 MB"),
        (Transfer("a", "f", 1_200_000), None, "1.2 MB"),
    ],
)  # fmt: skip
def test_bytes_rate_and_time_are_one_line(transfer, left, words):
    assert transferWords(transfer, left) == words
