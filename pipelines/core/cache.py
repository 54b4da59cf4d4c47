"""What was read lately, kept for the next use within a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar

BYTES = 400 << 20
"""That are kept, the last one read in any case."""


class Sized(Protocol):
    """Something that takes memory."""

    @property
    def nbytes(self) -> int:
        """How much."""
        ...


Held = TypeVar("Held", bound=Sized)


class ReadCache(Generic[Held]):
    """What is read of photos, of the ones that were used last; shared by threads.

    Args:
        read: number of a photo -> what is read of it.
    """

    def __init__(self, read: Callable[[int], Held]) -> None:
        self._read = read
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, index: int) -> Held:
        """What is read of photo ``index``."""
        with self._lock:
            if index in self._held:
                self._held.move_to_end(index)
                return self._held[index]
        loaded = self._read(index)
        with self._lock:
            if index not in self._held:
                self._held[index] = loaded
                self._bytes += loaded.nbytes
            while self._bytes > BYTES and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return loaded
