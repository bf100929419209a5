"""`ctkSliderWidget`: a slider of real numbers with a spin box."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType

_TICKS = 1000


class ctkSliderWidget(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """The spin box holds the value; the slider follows it in a thousand ticks."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._pageStep = 1.0
        self._tracking = True
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, _TICKS)
        self._spinBox = QtWidgets.QDoubleSpinBox(self)
        self._spinBox.setRange(0, 99)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spinBox)
        self._spinBox.valueChanged.connect(self._onSpun)
        self._slider.valueChanged.connect(self._onSlid)

    def _onSpun(self, value: float) -> None:
        span = (self._spinBox.maximum - self._spinBox.minimum) or 1
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setValue(round(_TICKS * (value - self._spinBox.minimum) / span))
        self.valueChanged.emit(value)

    def _onSlid(self, tick: int) -> None:
        span = self._spinBox.maximum - self._spinBox.minimum
        self._spinBox.setValue(self._spinBox.minimum + tick / _TICKS * span)

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    def _setPageStep(self, step: float) -> None:
        self._pageStep = step

    def _setTracking(self, tracking: bool) -> None:
        self._tracking = tracking

    value = QtCore.Property(float, lambda self: self._spinBox.value, setValue)
    minimum = QtCore.Property(float, lambda self: self._spinBox.minimum, lambda self, v: self._spinBox.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._spinBox.maximum, lambda self, v: self._spinBox.setMaximum(v))
    singleStep = QtCore.Property(
        float, lambda self: self._spinBox.singleStep, lambda self, v: self._spinBox.setSingleStep(v)
    )
    pageStep = QtCore.Property(float, lambda self: self._pageStep, _setPageStep)
    decimals = QtCore.Property(int, lambda self: self._spinBox.decimals, lambda self, v: self._spinBox.setDecimals(v))
    prefix = QtCore.Property(str, lambda self: self._spinBox.prefix, lambda self, v: self._spinBox.setPrefix(v))
    suffix = QtCore.Property(str, lambda self: self._spinBox.suffix, lambda self, v: self._spinBox.setSuffix(v))
    tracking = QtCore.Property(bool, lambda self: self._tracking, _setTracking)
