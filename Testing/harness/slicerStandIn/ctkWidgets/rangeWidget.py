"""`ctkRangeWidget`: two real numbers, the lower never above the upper."""

from PySide6 import QtCore, QtWidgets

from ..pythonQt.objects import PythonQtObject, PythonQtType


class ctkRangeWidget(PythonQtObject, QtWidgets.QWidget, metaclass=PythonQtType):
    """Two spin boxes; CTK draws a double slider between them."""

    valuesChanged = QtCore.Signal(float, float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._lower, self._upper = QtWidgets.QDoubleSpinBox(self), QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for box, value in ((self._lower, 0), (self._upper, 99)):
            box.setRange(0, 99)
            box.setValue(value)
            layout.addWidget(box)
            box.valueChanged.connect(self._onChanged)

    def _onChanged(self) -> None:
        if self._lower.value <= self._upper.value:
            self.valuesChanged.emit(self._lower.value, self._upper.value)

    def setRange(self, lowest: float, highest: float) -> None:
        for box in (self._lower, self._upper):
            box.setRange(lowest, highest)

    def setValues(self, lower: float, upper: float) -> None:
        with QtCore.QSignalBlocker(self._lower):
            self._lower.setValue(min(lower, upper))
        with QtCore.QSignalBlocker(self._upper):
            self._upper.setValue(max(lower, upper))
        self._onChanged()

    minimum = QtCore.Property(
        float, lambda self: self._lower.minimum, lambda self, v: self.setRange(v, self._lower.maximum)
    )
    maximum = QtCore.Property(
        float, lambda self: self._lower.maximum, lambda self, v: self.setRange(self._lower.minimum, v)
    )
    minimumValue = QtCore.Property(
        float, lambda self: self._lower.value, lambda self, v: self.setValues(v, self._upper.value)
    )
    maximumValue = QtCore.Property(
        float, lambda self: self._upper.value, lambda self, v: self.setValues(self._lower.value, v)
    )
    decimals = QtCore.Property(
        int, lambda self: self._lower.decimals, lambda self, v: [b.setDecimals(v) for b in (self._lower, self._upper)]
    )
