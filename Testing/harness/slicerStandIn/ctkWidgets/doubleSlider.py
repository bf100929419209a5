"""`ctkDoubleSlider`: a slider of real numbers, without a spin box."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType

_TICKS = 1000


class ctkDoubleSlider(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Keeps the number as it was set; the slider shows it in a thousand ticks."""

    valueChanged = QtCore.Signal(float)
    sliderMoved = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._value, self._lowest, self._highest = 0.0, 0.0, 99.0
        self._singleStep, self._pageStep, self._tracking = 1.0, 10.0, True
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, _TICKS)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        self._slider.valueChanged.connect(self._onSlid)

    def setValue(self, value: float) -> None:
        value = min(max(float(value), self._lowest), self._highest)
        if value == self._value:
            return
        self._value = value
        self._showValue()
        self.valueChanged.emit(value)

    def _onSlid(self, tick: int) -> None:
        self.setValue(self._lowest + tick / _TICKS * (self._highest - self._lowest))
        self.sliderMoved.emit(self._value)

    def _showValue(self) -> None:
        span = (self._highest - self._lowest) or 1
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setValue(round(_TICKS * (self._value - self._lowest) / span))

    def _setRange(self, lowest: float, highest: float) -> None:
        if (lowest, highest) != (self._lowest, self._highest):
            self._lowest, self._highest = lowest, max(lowest, highest)
            self.rangeChanged.emit(self._lowest, self._highest)
        self.setValue(self._value)
        self._showValue()

    def _setSingleStep(self, step: float) -> None:
        self._singleStep = step

    def _setPageStep(self, step: float) -> None:
        self._pageStep = step

    def _setTracking(self, tracking: bool) -> None:
        self._tracking = tracking

    value = QtCore.Property(float, lambda self: self._value, setValue)
    minimum = QtCore.Property(float, lambda self: self._lowest, lambda self, v: self._setRange(v, self._highest))
    maximum = QtCore.Property(float, lambda self: self._highest, lambda self, v: self._setRange(self._lowest, v))
    singleStep = QtCore.Property(float, lambda self: self._singleStep, _setSingleStep)
    pageStep = QtCore.Property(float, lambda self: self._pageStep, _setPageStep)
    tracking = QtCore.Property(bool, lambda self: self._tracking, _setTracking)
