"""A computer that lacks something: the panel says what, offers what helps, and nothing breaks."""

import sys

import pytest
import slicer
from opened import MODULE, Opened, home, openedPlain  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents, waitUntil
from VCMSlicerLib.engine.jobState import JobState


def test_without_an_environment_generate_says_so_and_set_up_shows_what_and_how_much_first(openedPlain, monkeypatch):  # noqa: F811
    ui = openedPlain.ui
    assert "not set up yet: that comes first" in ui.generateHintLabel.text
    assert ui.setUpButton.isVisible()
    asked, offered = [], []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda words, *_rest, **_more: asked.append(words))
    monkeypatch.setattr(
        slicer.util, "confirmYesNoDisplay", lambda words, *_rest, **_more: offered.append(words) or True
    )
    for button in (ui.setUpButton, ui.generateButton):
        openedPlain.press(button)
    assert "is in Slicer already" in offered[0] and "which is in Slicer already, is used" in asked[0]
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_words, **_more: False)
    openedPlain.press(ui.setUpButton)
    assert all("GB" in words and "Slicer's own packages are not touched" in words for words in asked)
    assert len(asked) == 3 and "PyTorch and MONAI are put into a folder of their own" in asked[2]
    assert not openedPlain.logic.environment.busy, "nothing happens unless the user agrees"
    assert not (openedPlain.home / "data" / "vcm-slicer").exists()


def test_without_internet_setting_up_ends_with_a_sentence_and_can_be_pressed_again(openedPlain, monkeypatch):  # noqa: F811
    environment = openedPlain.logic.environment
    environment._python = sys.executable
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    told = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_words, **_more: True)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_words, **_more: False)
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda words, *_rest, **_more: told.append(words))
    openedPlain.press(openedPlain.ui.setUpButton)
    assert openedPlain.ui.setUpProgress.isVisible() or told
    waitUntil(lambda: not environment.busy, 120, "the end of pip")
    processEvents(0.1)
    assert len(told) == 1 and told[0]
    assert openedPlain.ui.setUpButton.isVisible() and openedPlain.ui.setUpButton.enabled
    assert not environment.ready


@pytest.fixture
def withStubs(openedPlain, tmp_path, monkeypatch):  # noqa: F811
    """The panel with wheels that are set up in seconds; `started` hears of what Generate would do then."""
    import stubWheels
    from VCMSlicerLib.install import installPlan, packageFolder

    monkeypatch.setattr(installPlan, "REQUIREMENTS", packageFolder.REQUIREMENTS)
    stubWheels.makeWheels(tmp_path / "wheels")
    environment, started = openedPlain.logic.environment, []
    environment._python = sys.executable
    makePlan = environment.plan
    monkeypatch.setattr(environment, "plan", lambda *_all, **_more: makePlan(tmp_path / "wheels", "cpu"))
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_words, **_more: True)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_words, **_more: False)
    monkeypatch.setattr(openedPlain.panel.errands, "generate", lambda *_all: started.append("generate"))
    openedPlain.started = started
    return openedPlain


def test_generate_sets_up_first_shows_how_far_it_is_and_goes_on_to_the_image(withStubs):
    ui, environment = withStubs.ui, withStubs.logic.environment
    withStubs.press(ui.startDemoButton)
    withStubs.press(ui.generateButton)
    processEvents(0.1)
    assert environment.busy and ui.generateButton.text == "Cancel" and ui.progressArea.isVisible()
    assert ui.progressLabel.text.startswith("Setting up: ")
    waitUntil(lambda: not environment.busy, 120, "the end of pip")
    processEvents(0.2)
    assert environment.ready and withStubs.started == ["generate"]
    assert ui.generateButton.text == "Generate" and not ui.progressArea.isVisible()


def test_a_setting_up_that_was_broken_off_or_asked_for_by_itself_generates_nothing(withStubs):
    ui, environment = withStubs.ui, withStubs.logic.environment
    withStubs.press(ui.generateButton)
    processEvents(0.1)
    withStubs.press(ui.generateButton)  # it says Cancel
    waitUntil(lambda: not environment.busy, 60, "the end of pip")
    assert not environment.ready and withStubs.started == []
    processEvents(0.1)
    withStubs.press(ui.setUpButton)
    waitUntil(lambda: not environment.busy, 120, "the end of pip")
    processEvents(0.2)
    assert environment.ready and withStubs.started == []


def test_a_scene_that_names_a_model_which_is_not_here_says_so(openedPlain):  # noqa: F811
    openedPlain.logic.environment.interpreter = sys.executable
    openedPlain.parameters.packName = "brainldm-secret"
    processEvents(0.1)
    ui = openedPlain.ui
    assert "brainldm-secret" in ui.modelStateLabel.text
    assert not ui.generateButton.enabled
    assert "not on this computer" in ui.generateButton.toolTip


def test_a_model_that_must_be_fetched_first_tells_its_size_and_licence(openedPlain):  # noqa: F811
    openedPlain.logic.environment.interpreter = sys.executable
    openedPlain.choosePack("brainldm")
    ui = openedPlain.ui
    assert "GB" in ui.modelStateLabel.text and "Licence" in ui.modelStateLabel.text
    assert ui.getModelButton.isVisible()
    assert "comes first" in ui.generateHintLabel.text and "licence" in ui.generateHintLabel.text


def test_without_a_graphics_card_the_preflight_says_that_the_processor_does_it(openedPlain):  # noqa: F811
    openedPlain.logic.environment.interpreter = sys.executable
    processEvents(0.1)
    assert "processor" in openedPlain.ui.preflightLabel.text
    assert openedPlain.ui.generateButton.enabled, openedPlain.ui.generateButton.toolTip
    assert not openedPlain.ui.setUpButton.isVisible()


def test_an_interpreter_that_is_gone_counts_as_none_and_can_be_left(openedPlain):  # noqa: F811
    environment = openedPlain.logic.environment
    environment.interpreter = "/nowhere/python"
    processEvents(0.1)
    assert not environment.ready and "/nowhere/python" in environment.stateWords()
    assert openedPlain.ui.setUpButton.isVisible()
    openedPlain.panel.model._useOwnPackages()
    assert environment.interpreter == "" and "/nowhere" not in environment.stateWords()


def test_an_interpreter_that_is_none_fails_with_a_remedy(openedPlain):  # noqa: F811
    openedPlain.logic.environment.interpreter = "/bin/false"
    processEvents(0.1)
    openedPlain.press(openedPlain.ui.generateButton)
    waitUntil(lambda: not openedPlain.client.state.busy, 30, "the failure")
    processEvents(0.2)
    assert openedPlain.client.state is JobState.FAILED
    assert openedPlain.ui.problemFrame.isVisible()
    assert openedPlain.client.failure.sentence in openedPlain.ui.problemLabel.text
    assert openedPlain.ui.remedyButton.text
