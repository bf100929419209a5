"""The first minute with the panel: what is in sight, what folds, what stays as the user left it."""

import sys

import slicer
from opened import home, opened, openedPlain, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import processEvents


def inSight(opened, widget):  # noqa: F811
    """Whether the whole widget lies within what Slicer's module panel shows of the module."""
    panel = opened.window._panel.viewport()
    corner = widget.mapTo(panel, widget.rect.bottomRight())
    return (
        widget.isVisible()
        and panel.rect.contains(corner)
        and panel.rect.contains(widget.mapTo(panel, widget.rect.topLeft()))
    )


def test_generate_and_its_progress_stay_in_sight_however_tall_the_sections_are(opened):  # noqa: F811
    ui = opened.ui
    opened.press(ui.startDemoButton)
    ui.editor.setMinimumHeight(900)  # the real Segment Editor with the options of an effect is about as tall
    for section in (ui.modelSection, ui.advancedSection, ui.subjectSection, ui.samplingSection, ui.resultsSection):
        section.collapsed = False
    processEvents(0.2)
    assert opened.window._panel.verticalScrollBar().maximum == 0, "Slicer's own scroll area has nothing to scroll"
    bar = ui.scrollArea.verticalScrollBar()
    assert bar.maximum > 900
    for place in (0, bar.maximum):
        bar.value = place
        processEvents(0.05)
        assert inSight(opened, ui.generateButton)
    ui.progressArea.visible = True
    processEvents(0.1)
    assert inSight(opened, ui.progressBar) and inSight(opened, ui.generateButton)


def test_a_message_of_many_lines_takes_its_room_from_the_sections_and_not_from_the_button(opened):  # noqa: F811
    ui = opened.ui
    ui.problemLabel.text = "What went wrong, in many words. " * 12
    ui.problemFrame.visible = True
    processEvents(0.2)
    assert inSight(opened, ui.problemLabel) and inSight(opened, ui.generateButton)
    assert ui.problemLabel.height >= ui.problemLabel.heightForWidth(ui.problemLabel.width)


def test_in_a_very_low_window_with_help_unfolded_slicers_panel_scrolls_to_the_button(opened):  # noqa: F811
    from slicerStandIn.testing.mouse import reveal

    opened.window.resize(1000, 320)
    opened.window._panel._help.setMinimumHeight(260)
    processEvents(0.2)
    assert opened.window._panel.verticalScrollBar().maximum > 0
    reveal(opened.ui.generateButton)
    assert inSight(opened, opened.ui.generateButton)


def test_the_panel_is_as_wide_as_its_widest_section_needs(opened):  # noqa: F811
    panel = opened.window._panel
    opened.ui.editor.setMinimumWidth(600)
    opened.press(opened.ui.startDemoButton)
    processEvents(0.2)
    assert panel.minimumWidth >= 600
    assert opened.ui.scrollArea.horizontalScrollBar().maximum == 0, "nothing is cut off at the side"
    assert opened.ui.editor.width >= 600


def test_the_model_folds_when_all_is_ready_and_unfolds_when_something_is_missing(openedPlain):  # noqa: F811
    section, environment = openedPlain.ui.modelSection, openedPlain.logic.environment
    assert not section.collapsed and section.text == "Model"
    environment.interpreter = sys.executable
    processEvents(0.1)
    assert section.collapsed and section.text == "Model: BrainLDM mini (2 mm) · Tissue map"
    openedPlain.press(openedPlain.ui.advancedSection)
    openedPlain.parameters.seed = 5
    processEvents(0.1)
    assert not section.collapsed, "what the user unfolded stays so"
    assert not openedPlain.ui.setUpButton.isVisible(), "there is nothing to set up"
    section.collapsed = True
    environment.interpreter = ""
    processEvents(0.1)
    assert not section.collapsed and openedPlain.ui.setUpButton.isVisible()


def test_a_changed_mask_meets_the_same_seed_unless_a_new_one_is_wanted_each_time(opened):  # noqa: F811
    ui = opened.ui
    opened.press(ui.startDemoButton)
    opened.press(ui.previewButton)
    assert not ui.newSeedBox.checked
    opened.generate()
    opened.row("ventricles").strengthSlider.value = 1.5
    processEvents(0.1)
    opened.generate()
    opened.press(ui.newSeedBox)
    opened.generate()
    opened.generate()
    assert [row.seed for row in opened.logic.results.rows()] == [1, 1, 1, 2]


def test_results_are_renamed_and_removed_by_their_buttons(opened, dialogs, monkeypatch):  # noqa: F811
    import qt

    ui = opened.ui
    opened.press(ui.startDemoButton)
    opened.press(ui.previewButton)
    assert not ui.renameButton.enabled and not ui.removeButton.enabled
    (sample,) = opened.generate()

    def typed(name, result):
        def answer(dialog):
            dialog.setTextValue(name)
            return result

        return answer

    dialogs.answer(typed("never", qt.QDialog.Rejected), typed("Case 7", qt.QDialog.Accepted))
    opened.press(ui.renameButton)
    assert "never" not in sample.GetName()
    opened.press(ui.renameButton)
    assert sample.GetName() == "Case 7 (synthetic)" and ui.resultsTable.item(0, 0).text() == "Case 7 (synthetic)"
    answers = [False, True]
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_words, **_more: answers.pop(0))
    opened.press(ui.removeButton)
    assert sample.GetScene() is slicer.mrmlScene, "nothing is removed unless the user agrees"
    opened.press(ui.removeButton)
    processEvents(0.1)
    assert sample.GetScene() is None and opened.logic.results.rows() == []
    assert not ui.removeButton.enabled and not ui.resultsTable.isVisible()
