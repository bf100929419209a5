"""CTK's number widgets as Slicer derives them to follow the scene's units; here they only have Slicer's names."""

from ..ctkWidgets.rangeWidget import ctkRangeWidget
from ..ctkWidgets.sliderWidget import ctkSliderWidget
from ..ctkWidgets.spinBox import ctkDoubleSpinBox


class qMRMLRangeWidget(ctkRangeWidget):
    """As CTK's."""


class qMRMLSliderWidget(ctkSliderWidget):
    """As CTK's."""


class qMRMLSpinBox(ctkDoubleSpinBox):
    """As CTK's."""
