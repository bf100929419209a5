"""Lists and dictionaries that write themselves back into the parameter node when they are changed in place."""

from collections.abc import Callable
from typing import Any


def _writingBack(base: type, methods: tuple[str, ...]) -> dict[str, Any]:
    def make(name: str) -> Any:
        original = getattr(base, name)

        def changed(self: Any, *arguments: Any, **keywords: Any) -> Any:
            result = original(self, *arguments, **keywords)
            self._onChanged(self)
            return self if name == "__iadd__" else result

        return changed

    return {name: make(name) for name in methods}


class _Observed:
    def __init__(self, values: Any, onChanged: Callable[[Any], None]) -> None:
        super().__init__(values)
        self._onChanged = onChanged


_LIST_CHANGES = ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort")
_LIST_OPERATORS = ("__setitem__", "__delitem__", "__iadd__", "__imul__")
_DICT_CHANGES = ("clear", "pop", "popitem", "setdefault", "update", "__setitem__", "__delitem__", "__ior__")

ObservedList = type("ObservedList", (_Observed, list), _writingBack(list, _LIST_CHANGES + _LIST_OPERATORS))
ObservedDict = type("ObservedDict", (_Observed, dict), _writingBack(dict, _DICT_CHANGES))
