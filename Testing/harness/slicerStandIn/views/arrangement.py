"""Reads a layout description (Slicer's XML) into nested Qt splitters and tabs."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtCore, QtWidgets


@dataclass
class Arrangement:
    """The widget to show and the views in it, in the order of the description."""

    widget: QtWidgets.QWidget
    views: list[Any] = field(default_factory=list)


def arrange(description: str, viewOf: Callable[[str, str], Any]) -> Arrangement:
    """Build what `description` says; `viewOf(nodeClass, singletonTag)` gives the widget of a view."""
    root = ElementTree.fromstring(description)
    layouts = root if root.tag == "viewports" else [root]
    layout = next(element for element in layouts if element.tag == "layout")
    arrangement = Arrangement(QtWidgets.QWidget())
    arrangement.widget = _layout(layout, viewOf, arrangement.views)
    return arrangement


def _layout(element: ElementTree.Element, viewOf: Callable[[str, str], Any], views: list[Any]) -> QtWidgets.QWidget:
    items = [_item(item, viewOf, views) for item in element.findall("item")]
    kind = element.get("type", "horizontal")
    if kind == "tab":
        tabs = QtWidgets.QTabWidget()
        for item in items:
            tabs.addTab(item, item.objectName)
        return tabs
    if kind == "grid":
        return _grid(element, items)
    vertical = kind == "vertical"
    splitter = QtWidgets.QSplitter(QtCore.Qt.Orientation.Vertical if vertical else QtCore.Qt.Orientation.Horizontal)
    for item, described in zip(items, element.findall("item"), strict=True):
        splitter.addWidget(item)
        splitter.setStretchFactor(splitter.count() - 1, int(described.get("splitSize", 0)) or 1)
    splitter.setSizes([int(described.get("splitSize", 0)) or 10_000 for described in element.findall("item")])
    return splitter


def _grid(element: ElementTree.Element, items: list[QtWidgets.QWidget]) -> QtWidgets.QWidget:
    widget = QtWidgets.QWidget()
    layout = QtWidgets.QGridLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    for item, described in zip(items, element.findall("item"), strict=True):
        layout.addWidget(item, int(described.get("row", 0)), int(described.get("column", 0)))
    return widget


def _item(item: ElementTree.Element, viewOf: Callable[[str, str], Any], views: list[Any]) -> QtWidgets.QWidget:
    nested = item.find("layout")
    if nested is not None:
        return _layout(nested, viewOf, views)
    described = item.find("view")
    view = viewOf(described.get("class", ""), described.get("singletontag", ""))
    view.setVisible(True)
    views.append(view)
    return view
