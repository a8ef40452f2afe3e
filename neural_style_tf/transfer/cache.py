"""Keep what was used last, within a bound on memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Cache:
    """Values by key, the least recently used of which go first; not for several threads.

    Args:
        limit: Bytes that all values together may take; 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def take(self, key: Hashable) -> Any | None:
        """Return a value and keep it no longer; None if there is none."""
        value, _ = self._values.pop(key, (None, 0))
        return value

    def give(self, key: Hashable, value: Any, size: int) -> bool:
        """Keep a value that takes `size` bytes; return whether nothing had to go for it, nor itself."""
        kept = self._values.pop(key, None) is None and size <= self.limit
        if size <= self.limit:
            self._values[key] = value, size
        while self.size > self.limit:
            self._values.popitem(last=False)
            kept = False
        return kept

    def clear(self) -> None:
        """Keep nothing of all this."""
        self._values.clear()

    def get(self, key: Hashable, make: Callable[[], Any], size_of: Callable[[Any], int]) -> Any:
        """Return the value of a key, which stays; make it if there is none."""
        value = self.take(key)
        if value is None:
            value = make()
        if self.limit:
            self.give(key, value, size_of(value))
        return value

    @property
    def size(self) -> int:
        """The bytes that are kept."""
        return sum(size for _, size in self._values.values())
