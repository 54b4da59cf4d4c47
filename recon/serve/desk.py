"""One worker, a queue with a bound: who comes when it is full is turned away at once and told when to come back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")
_REMEMBERED = 20


class FullError(Exception):
    """There is no place left; ``seconds`` until there probably is."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        super().__init__("the queue is full")


class LateError(Exception):
    """The answer was not ready in time."""


class Place:
    """A client's place, from before its photo is received until no thread works on it any more."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._held = desk, True

    def leave(self) -> None:
        """Give the place to another; once."""
        if self._held:
            self._held = False
            self._desk.inside -= 1


class Desk(Generic[T]):
    """Work done one after the other in one thread, for at most ``size`` clients at once.

    Its methods are for the event loop's thread alone.

    Attributes:
        inside: clients that have a place now.
    """

    def __init__(self, size: int) -> None:
        self.size, self.inside = size, 0
        self._pool = ThreadPoolExecutor(1, "localise")
        self._took: list[float] = []

    def enter(self) -> Place:
        """A place.

        Raises:
            FullError: there is none.
        """
        if self.inside >= self.size:
            each = sorted(self._took)[len(self._took) // 2] if self._took else 1.0
            raise FullError(max(1, math.ceil(each * self.size / 2)))
        self.inside += 1
        return Place(self)

    async def work(self, place: Place, job: Callable[[], T], timeout: float) -> T:
        """The job's result; the place is left when the job is done, or was not begun in time.

        Raises:
            LateError: after so many seconds. A job that was begun is ended, its result dropped.
        """
        loop = asyncio.get_running_loop()

        def timed() -> T:
            begin = time.perf_counter()
            try:
                return job()
            finally:
                self._took = [*self._took[1 - _REMEMBERED :], time.perf_counter() - begin]

        future: Future[T] = self._pool.submit(timed)
        future.add_done_callback(lambda _: loop.is_closed() or loop.call_soon_threadsafe(place.leave))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout)
        except TimeoutError as error:
            raise LateError from error

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
