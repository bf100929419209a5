"""`FloatRange` and `IntRange`: a lower and an upper value in one parameter."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FloatRange:
    """Two real numbers, the lower first."""

    minimum: float
    maximum: float

    def __post_init__(self) -> None:
        if self.maximum < self.minimum:
            raise ValueError(f"the range {self.minimum}…{self.maximum} is the wrong way round")


@dataclass(frozen=True)
class IntRange:
    """Two whole numbers, the lower first."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        if self.maximum < self.minimum:
            raise ValueError(f"the range {self.minimum}…{self.maximum} is the wrong way round")
