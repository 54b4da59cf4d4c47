"""Items in order, bounded, first error ends."""

from __future__ import annotations

import threading
import time

import pytest

from pipelines.engine import cores, map_items


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
