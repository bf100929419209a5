"""Menus behind buttons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import qt

Entry = tuple[str, str, Callable[[], Any]]


def makeMenu(button: Any, entries: Iterable[Entry] = ()) -> Any:
    """A menu under a tool button; each entry is its text, its tooltip and what it does."""
    menu = qt.QMenu(button)
    menu.setToolTipsVisible(True)
    fillMenu(menu, entries)
    button.setMenu(menu)
    return menu


def fillMenu(menu: Any, entries: Iterable[Entry]) -> None:
    """Replace what is in a menu."""
    menu.clear()
    for text, tip, action in entries:
        entry = qt.QAction(text, menu)
        entry.setToolTip(tip)
        entry.connect("triggered()", action)
        menu.addAction(entry)
