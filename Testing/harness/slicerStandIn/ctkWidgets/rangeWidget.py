"""`ctkRangeWidget` and `ctkDoubleRangeSlider`: two real numbers, the lower never above the upper."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class _Range(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Two spin boxes; CTK draws a double slider between them."""

    valuesChanged = QtCore.Signal(float, float)
    minimumValueChanged = QtCore.Signal(float)
    maximumValueChanged = QtCore.Signal(float)
    rangeChanged = QtCore.Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._lower, self._upper = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        self._shown = (0.0, 99.0)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box, value in zip((self._lower, self._upper), self._shown, strict=True):
            box.setRange(0, 99)
            box.setValue(value)
            layout.addWidget(box)
            box.valueChanged.connect(self._onChanged)

    def _onChanged(self) -> None:
        before, now = self._shown, (self._lower.value, self._upper.value)
        if now[0] > now[1] or now == before:
            return
        self._shown = now
        for old, new, signal in zip(before, now, (self.minimumValueChanged, self.maximumValueChanged), strict=True):
            if new != old:
                signal.emit(new)
        self.valuesChanged.emit(*now)

    def setRange(self, lowest: float, highest: float) -> None:
        for box in (self._lower, self._upper):
            box.setRange(lowest, highest)
        self.rangeChanged.emit(lowest, highest)

    def setValues(self, lower: float, upper: float) -> None:
        for box, value in ((self._lower, min(lower, upper)), (self._upper, max(lower, upper))):
            with QtCore.QSignalBlocker(box):
                box.setValue(value)
        self._onChanged()

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._upper.value))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._lower.value), value)

    def _each(self, set_: str, value: float) -> None:
        for box in (self._lower, self._upper):
            getattr(box, set_)(value)

    minimum = QtCore.Property(
        float, lambda self: self._lower.minimum, lambda self, v: self.setRange(v, self._lower.maximum)
    )
    maximum = QtCore.Property(
        float, lambda self: self._lower.maximum, lambda self, v: self.setRange(self._lower.minimum, v)
    )
    minimumValue = QtCore.Property(float, lambda self: self._lower.value, setMinimumValue)
    maximumValue = QtCore.Property(float, lambda self: self._upper.value, setMaximumValue)
    singleStep = QtCore.Property(
        float, lambda self: self._lower.singleStep, lambda self, v: self._each("setSingleStep", v)
    )


class ctkDoubleRangeSlider(_Range):
    """Without decimals: it has no spin boxes in CTK."""


class ctkRangeWidget(_Range):
    """With spin boxes in CTK too."""

    def setDecimals(self, decimals: int) -> None:
        self._each("setDecimals", decimals)

    decimals = QtCore.Property(int, lambda self: self._lower.decimals, setDecimals)
