"""Takes type hints apart: `Annotated`, `Optional`, unions, node classes."""

import types
import typing
from typing import Any

import slicer


def splitAnnotations(hint: Any) -> tuple[Any, list[Any]]:
    """`Annotated[float, a, b]` → `(float, [a, b])`; anything else has no annotations."""
    if typing.get_origin(hint) is typing.Annotated:
        base, *annotations = typing.get_args(hint)
        return base, annotations
    return hint, []


def unannotatedType(hint: Any) -> Any:
    """`Annotated[float, …]` → `float`."""
    return splitAnnotations(hint)[0]


def findFirstAnnotation(annotations: list[Any], kind: type) -> Any:
    """The first annotation of a class, or None."""
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)


def isUnion(hint: Any) -> bool:
    """True for `Union[A, B]` and `A | B`."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def isNodeClass(hint: Any) -> bool:
    """True for vtkMRMLNode and what is derived from it."""
    return isinstance(hint, type) and issubclass(hint, slicer.vtkMRMLNode)


def nodeClasses(hint: Any) -> list[str]:
    """Names of the node classes of a node type or of a union of such; empty for any other type."""
    hint = unannotatedType(hint)
    members = [m for m in typing.get_args(hint) if m is not type(None)] if isUnion(hint) else [hint]
    return [member.__name__ for member in members] if all(isNodeClass(member) for member in members) else []


def splitDottedName(name: str) -> tuple[str, str | None]:
    """`"box.corner.x"` → `("box", "corner.x")`."""
    top, dot, rest = name.partition(".")
    return top, rest if dot else None
