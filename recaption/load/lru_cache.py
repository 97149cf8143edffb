"""A cache of the values that were used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

_T = TypeVar("_T")


class LruCache:
    """The most recently used values, up to `most` of them. They are not pickled."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        if key in self._values:
            self._values.move_to_end(key)
            found: _T = self._values[key]
            return found
        made = make()
        while len(self._values) >= self.most:
            self._values.popitem(last=False)
        self._values[key] = made
        return made

    def __getstate__(self) -> int:
        return self.most

    def __setstate__(self, most: int) -> None:
        self.most, self._values = most, OrderedDict()
