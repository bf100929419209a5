"""Base class of a scripted plugin, which registers itself when it is made."""

from typing import Any

import slicer


class AbstractScriptedSubjectHierarchyPlugin:
    """`scriptedPlugin` is the C++ side; its name has to be set before."""

    def __init__(self, scriptedPlugin: Any) -> None:
        self.scriptedPlugin = scriptedPlugin
        self.register()

    def register(self) -> None:
        slicer.qSlicerSubjectHierarchyPluginHandler.instance().registerPlugin(self.scriptedPlugin)
