"""The qMRML and qSlicer widgets that scripted modules name in their .ui files; `slicer.qMRML…` are these."""

from ..segmentEditor.segmentsView import qMRMLSegmentsTableView
from ..segmentEditor.widget import qMRMLSegmentEditorWidget
from .mrmlWidget import qMRMLWidget, qSlicerWidget
from .nameOnlyWidgets import nameOnlyWidgets
from .nodeComboBox import qMRMLNodeComboBox
from .segmentSelector import qMRMLSegmentSelectorWidget

_LIVE = (
    qMRMLNodeComboBox,
    qMRMLSegmentEditorWidget,
    qMRMLSegmentSelectorWidget,
    qMRMLSegmentsTableView,
    qMRMLWidget,
    qSlicerWidget,
)
MRML_CLASSES: dict[str, type] = nameOnlyWidgets() | {cls.__name__: cls for cls in _LIVE}
