"""A `ctk` module: the widgets of the Common Toolkit that scripted modules commonly name in their .ui files."""

import types

from .collapsibleButton import ctkCollapsibleButton
from .comboBox import ctkComboBox
from .messageBox import ctkMessageBox
from .pathLineEdit import ctkDirectoryButton, ctkPathLineEdit
from .plainWidgets import plainWidgets
from .rangeWidget import ctkRangeWidget
from .sliderWidget import ctkSliderWidget

CTK_CLASSES: dict[str, type] = {
    **plainWidgets(),
    **{
        cls.__name__: cls
        for cls in (
            ctkCollapsibleButton,
            ctkComboBox,
            ctkDirectoryButton,
            ctkMessageBox,
            ctkPathLineEdit,
            ctkRangeWidget,
            ctkSliderWidget,
        )
    },
}


def makeCtkModule() -> types.ModuleType:
    """Make the module to be imported as `ctk`."""
    module = types.ModuleType("ctk", "Stand-in for Slicer's PythonQt module `ctk`.")
    module.__dict__.update(CTK_CLASSES)
    return module
