"""Whatever a user reads can be translated: it goes through `_`, as one literal that the tools of translators find."""

import ast

import pytest
from packaged_files import MODULE

FILES = [MODULE / "VCMSlicer.py", *sorted((MODULE / "VCMSlicerLib").rglob("*.py"))]
SHOWN_ATTRIBUTES = {"text", "toolTip", "title", "windowTitle", "suffix", "prefix", "placeholderText"}
SHOWING_CALLS = {
    "setText", "setToolTip", "setTitle", "setWindowTitle", "addItem", "addAction", "addRow", "setInformativeText",
    "errorDisplay", "confirmOkCancelDisplay", "warningDisplay", "infoDisplay", "QCheckBox", "QLabel", "QPushButton",
}  # fmt: skip


def isWords(node):
    """Whether a piece of code is a literal with letters in it."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and any(map(str.isalpha, node.value))
    # What stands in markup is no word.
    return isinstance(node, ast.JoinedStr) and any(
        isWords(part) and not part.value.strip().startswith("<")
        for part in node.values
        if isinstance(part, ast.Constant)
    )


def calledName(call):
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def untranslated(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isWords(node.value):
            if any(isinstance(t, ast.Attribute) and t.attr in SHOWN_ATTRIBUTES for t in node.targets):
                yield node.lineno
        elif isinstance(node, ast.Call) and calledName(node) in SHOWING_CALLS and node.args and isWords(node.args[0]):
            yield node.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_words_are_shown_that_cannot_be_translated(path):
    assert list(untranslated(ast.parse(path.read_text("utf-8")))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_translated_is_one_literal(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    changing = [c.lineno for c in calls if calledName(c) == "_" and not isinstance(c.args[0], (ast.Constant, ast.Name))]
    assert [n for n in changing if "info.title" not in path.read_text("utf-8").splitlines()[n - 1]] == []


def test_these_tests_see_what_they_should():
    lines = [
        'box.text = "Hello"',
        'box.text = f"Hello {n}"',
        'box.text = f"<b>{n}</b>"',
        'a.toolTip = _("x")',
        'QLabel("Hi")',
    ]
    assert list(untranslated(ast.parse("\n".join(lines)))) == [1, 2, 5]
