"""The qMRML and qSlicer widgets that scripted modules name in their .ui files; `slicer.qMRML…` are these."""

from ..segmentEditor.segmentsView import qMRMLSegmentsTableView
from ..segmentEditor.widget import qMRMLSegmentEditorWidget
from .mrmlWidget import qMRMLWidget, qSlicerWidget
from .nodeComboBox import qMRMLNodeComboBox
from .numberWidgets import qMRMLRangeWidget, qMRMLSliderWidget, qMRMLSpinBox
from .segmentSelector import qMRMLSegmentSelectorWidget

_LIVE = (
    qMRMLNodeComboBox,
    qMRMLRangeWidget,
    qMRMLSegmentEditorWidget,
    qMRMLSegmentSelectorWidget,
    qMRMLSegmentsTableView,
    qMRMLSliderWidget,
    qMRMLSpinBox,
    qMRMLWidget,
    qSlicerWidget,
)
MRML_CLASSES: dict[str, type] = {cls.__name__: cls for cls in _LIVE}
