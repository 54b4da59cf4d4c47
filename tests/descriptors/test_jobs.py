"""Trainings side by side: what is raised, interrupted or killed ends at once and leaves no process behind."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from descriptors.training.curve import Progress
from descriptors.training.jobs import side_by_side


@dataclass(frozen=True)
class _Talks:
    name: str
    reports: int = 0
    after: frozenset[str] = frozenset()

    def run(self, tell) -> int:
        if not self.reports:
            raise OSError(28, "No space left on device")
        for step in range(self.reports):
            tell(self.name, Progress(step, 0.5, 0.1, 1.0))
        return torch.get_num_threads()


@dataclass(frozen=True)
class _Sleeps:
    name: str
    folder: Path
    after: frozenset[str] = frozenset()

    def run(self, _tell: object) -> None:
        (self.folder / str(os.getpid())).touch()
        time.sleep(60)


def test_what_one_raises_is_raised_when_the_others_are_over() -> None:
    """They report more than a pipe holds. What waits does not begin."""
    told: list[str] = []
    done = []
    with pytest.raises(OSError, match="No space left"):
        for result in side_by_side([_Talks("a"), _Talks("b", 3000), _Talks("c", 1, frozenset("b"))], 2,
                                   lambda name, _: told.append(name)):  # fmt: skip
            done.append(result)
    assert len(done) == 1 and told == ["b"] * 3000


def test_a_single_one_has_all_cores() -> None:
    assert list(side_by_side([_Talks("a", 1)], 64, lambda *_: None)) == [os.cpu_count()]


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_none_goes_on_without_the_process_that_began_it(tmp_path: Path, by: signal.Signals) -> None:
    """The same command again would train beside it, into the same files."""
    parent = get_context("spawn").Process(target=_begin, args=(tmp_path,))
    parent.start()
    assert _soon(lambda: len(os.listdir(tmp_path)) == 2, 60)
    os.kill(parent.pid or 0, by)
    parent.join(10)
    assert parent.exitcode is not None
    assert _soon(lambda: not any(_lives(int(name)) for name in os.listdir(tmp_path)), 10)


def _begin(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is not interrupted otherwise
    list(side_by_side([_Sleeps("a", folder), _Sleeps("b", folder)], 2, lambda *_: None))


def _soon(holds, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def _lives(pid: int) -> bool:
    """A process that has ended and waits for its parent to hear of it lives no more."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
