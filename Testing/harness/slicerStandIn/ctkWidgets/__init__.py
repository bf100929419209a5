"""A `ctk` module: the widgets of the Common Toolkit that scripted modules commonly name in their .ui files."""

import types

from .buttons import ctkCheckablePushButton, ctkColorPickerButton, ctkPushButton
from .collapsibleButton import ctkCollapsibleButton
from .comboBox import ctkComboBox
from .doubleSlider import ctkDoubleSlider
from .messageBox import ctkMessageBox
from .pathLineEdit import ctkDirectoryButton, ctkPathLineEdit
from .plainWidgets import plainWidgets
from .rangeWidget import ctkDoubleRangeSlider, ctkRangeWidget
from .sliderWidget import ctkSliderWidget
from .spinBox import ctkDoubleSpinBox

CTK_CLASSES: dict[str, type] = {
    **plainWidgets(),
    **{
        cls.__name__: cls
        for cls in (
            ctkCheckablePushButton,
            ctkCollapsibleButton,
            ctkColorPickerButton,
            ctkComboBox,
            ctkDirectoryButton,
            ctkDoubleRangeSlider,
            ctkDoubleSlider,
            ctkDoubleSpinBox,
            ctkMessageBox,
            ctkPathLineEdit,
            ctkPushButton,
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
