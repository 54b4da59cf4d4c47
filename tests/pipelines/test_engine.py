"""Items in order, bounded, first error ends."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pipelines.engine import core_pool, cores, map_items


@pytest.mark.parametrize("workers", [1, 2, 4, None])
def test_results_come_in_order(workers):
    def slow_for_even(x: int) -> int:
        time.sleep(0.002 * (x % 2 == 0))
        return x * x

    assert list(map_items(slow_for_even, range(40), workers=workers)) == [x * x for x in range(40)]


def test_few_items_are_in_flight():
    running, most, lock = 0, 0, threading.Lock()
    taken = 0

    def items():
        nonlocal taken
        for x in range(100):
            taken += 1
            yield x

    def work(x: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return x

    for done, _ in enumerate(map_items(work, items(), workers=2)):
        assert taken <= done + 5
    assert most <= 2


def test_the_first_error_ends_the_map():
    done = []

    def work(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        done.append(x)
        return x

    with pytest.raises(ValueError, match="three"):
        list(map_items(work, range(1000), workers=2))
    assert len(done) < 20


def test_cores():
    assert cores() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system keeps no thread on a core")
def test_each_thread_of_a_core_pool_has_a_core_of_its_own():
    before = os.sched_getaffinity(0)
    together = threading.Barrier(cores())

    def where(_: int) -> set[int]:
        together.wait(10)  # until all threads are there
        return os.sched_getaffinity(0)

    with core_pool() as pool:
        found = list(pool.map(where, range(cores())))
    assert all(len(one) == 1 for one in found) and set.union(*found) == before
    assert os.sched_getaffinity(0) == before
