"""What may stand beside a type in `Annotated[…]`: the values allowed, the default, how a widget shows it."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Default:
    """The value of a parameter not set yet."""

    value: Any

    def generate(self) -> Any:
        return self.value


@dataclass
class Decimals:
    """Digits a spin box shows after the point."""

    value: int


@dataclass
class SingleStep:
    """Step of a spin box or slider."""

    value: float


@dataclass
class RangeBounds:
    """Lowest and highest a range widget offers."""

    minimum: float
    maximum: float


class Validator:
    """Refuses values by ValueError."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError


class NotNone(Validator):
    """Refuses None."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("the value must not be None")


class IsInstance(Validator):
    """Refuses what is not of the type; None passes."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise ValueError(f"expected {self.classtype}, found {value!r} of {type(value)}")


class WithinRange(Validator):
    """Ends included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        if maximum < minimum:
            raise ValueError(f"the range {minimum}…{maximum} is empty")
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if value is not None and not self.minimum <= value <= self.maximum:
            raise ValueError(f"expected {self.minimum}…{self.maximum}, found {value}")


class Minimum(Validator):
    """The lowest value allowed."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value is not None and value < self.minimum:
            raise ValueError(f"expected at least {self.minimum}, found {value}")


class Maximum(Validator):
    """The highest value allowed."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value is not None and value > self.maximum:
            raise ValueError(f"expected at most {self.maximum}, found {value}")


class Choice(Validator):
    """The values allowed; a combo box lists them, the first is the default."""

    def __init__(self, choices: Any) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"expected one of {list(self.choices)}, found {value!r}")


class Exclude(Validator):
    """The values not allowed."""

    def __init__(self, excludedValues: Any) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"{value!r} is not allowed")
