"""The peak of live tensors, on any device: what a computation must hold, whatever the allocator does with it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class TensorMemory(TorchDispatchMode):
    """While active, follows the bytes of all tensors that operations make, until they are freed.

    Tensors that were there before do not count. What a kernel takes for itself and gives back before it returns (a
    convolution's workspace, say) is not seen. Every operation becomes slower: never measure time and memory together.

    >>> import torch
    >>> with TensorMemory() as memory:
    ...     a = torch.ones(1000)
    ...     b = (a + 1).sum()
    ...     del a
    >>> memory.peak, memory.live
    (8004, 4)
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for tensor in _tensors((args, kwargs)):
            self._know(tensor, count=False)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._know(tensor, count=True)
        return result

    def _know(self, tensor: Tensor, *, count: bool) -> None:
        """Count a storage once, when an operation returns it for the first time; an argument was there before."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes() if count else 0
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
