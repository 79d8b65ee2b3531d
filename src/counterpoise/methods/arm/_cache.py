"""Values that change between epochs only, so that a step neither computes nor reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

__all__ = ["Cache"]

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """A value that is computed from tensors, again only when one of them was replaced or changed in place.

    Example:
        >>> import torch
        >>> cache, x = Cache(), torch.ones(2)
        >>> [cache.get([x], lambda: float(x.sum())) for _ in range(2)]
        [2.0, 2.0]
        >>> x.mul_(3)
        tensor([3., 3.])
        >>> cache.get([x], lambda: float(x.sum()))
        6.0
    """

    def __init__(self) -> None:
        self._value: list[Value] = []
        self._sources: list[tuple[Tensor, int]] = []

    def __deepcopy__(self, memo: object) -> Cache[Value]:
        return Cache()  # the copies of the sources count their changes from zero

    def __reduce__(self) -> tuple[type[Cache[Value]], tuple[()]]:
        return Cache, ()

    def get(self, sources: Sequence[Tensor], compute: Callable[[], Value]) -> Value:
        """Return the value.

        Args:
            sources: Tensors that the value depends on.
            compute: Function that returns the value.
        """
        if any(x.is_inference() for x in sources):  # they do not count their changes
            return compute()
        if len(sources) != len(self._sources) or any(
            x is not old or x._version != version for x, (old, version) in zip(sources, self._sources, strict=True)
        ):
            self._sources = [(x, x._version) for x in sources]
            self._value = [compute()]
        return self._value[0]
