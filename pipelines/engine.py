"""Run a stage's function over its items on all cores, in order, with bounded memory."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes."""
    import resource  # which Windows has not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def core_pool() -> ThreadPoolExecutor:
    """A thread for each core, kept on it: for short tasks that start no threads of their own, which would be kept there
    as well.

    Two threads that are woken at once may share a core for longer than such tasks take, while another has nothing to do
    (Linux 6.18, two cores: of two tasks of 15 ms each then takes 25).
    """
    if not hasattr(os, "sched_setaffinity"):
        return ThreadPoolExecutor(cores())
    free = deque(os.sched_getaffinity(0))

    def settle() -> None:
        with suppress(OSError):  # where a sandbox forbids it, threads go where they are put
            os.sched_setaffinity(0, {free.popleft()})

    return ThreadPoolExecutor(len(free), initializer=settle)


@contextmanager
def opencv_threads_kept() -> Iterator[None]:
    """Leave OpenCV's number of threads as it was, whatever is set meanwhile; also a decorator."""
    import cv2

    before = cv2.getNumThreads()
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def map_items(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in the items' order.

    The work goes on in threads: the stages spend their time in OpenCV, BLAS and COLMAP, which all release
    Python's lock. At most two items per worker are in flight, so memory does not grow with their number.
    The first exception ends the map; items not yet begun are dropped.
    """
    count = workers or cores()
    if count == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(count) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
