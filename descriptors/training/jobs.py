"""Trainings side by side, each in a process of its own: one small network keeps neither a GPU nor many cores busy."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

import torch

from descriptors.contract import DescriptorError
from descriptors.training.curve import Progress

Tell = Callable[[str, Progress], None]
"""Called with the name of a training and how far it is."""
Result = TypeVar("Result", covariant=True)

_HEARING_SECONDS = 0.5


class Job(Protocol, Generic[Result]):
    """One of several trainings. It is sent to another process."""

    @property
    def name(self) -> str:
        """What reports call it by."""
        ...

    @property
    def after(self) -> frozenset[str]:
        """Names of those that must be over before it begins."""
        ...

    def run(self, tell: Tell) -> Result:
        """Do it."""
        ...


def side_by_side(jobs: Sequence[Job[Result]], at_once: int, tell: Tell) -> Iterator[Result]:
    """Results of all jobs, each as it comes, ``at_once`` of them running, begun in the order given.

    A process stays and does one job after the other, so that it reads its photos once. What a job raises is raised
    here, when those that run beside it are over. An interrupt, and the end of this process, ends them all.

    Raises:
        DescriptorError: a process was killed.
    """
    context = get_context("spawn")  # of a process with threads or a GPU no copy may be made
    # Not a Queue: what a job reports is on its way before its result is.
    reports = context.SimpleQueue()
    at_once = min(at_once, len(jobs))
    threads = max(1, (os.cpu_count() or 1) // at_once)
    heard, held = context.Pipe(duplex=False)
    waiting, running = list(jobs), dict[Future[Result], str]()
    failed: Exception | None = None
    with ProcessPoolExecutor(at_once, context, _set_up, (reports, threads, heard)) as pool:
        try:
            while running or (waiting and not failed):
                unfinished = {job.name for job in waiting} | set(running.values())
                ready = [job for job in waiting if not failed and not job.after & unfinished]
                for job in ready[: at_once - len(running)]:
                    running[pool.submit(_run, job)] = job.name
                    waiting.remove(job)
                done, _ = wait(running, _HEARING_SECONDS, FIRST_COMPLETED)
                while not reports.empty():
                    tell(*reports.get())
                for future in done:
                    del running[future]
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        raise error
                    if isinstance(error, Exception):
                        failed = failed or error
                    else:
                        yield future.result()
        except BrokenProcessPool as error:
            raise DescriptorError(
                "A training was killed, most often for want of memory. Give fewer --jobs; the same command "
                "goes on where it was."
            ) from error
        except BaseException:
            held.close()  # else the pool waits for jobs whose results nobody wants
            raise
    if failed:
        raise failed


_reports: Any = None


def _set_up(reports: Any, threads: int, heard: Connection) -> None:
    """Prepare a process: where it reports, how many threads it has; an interrupt is its parent's to answer."""
    global _reports
    _reports = reports
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with, args=(heard,), daemon=True).start()


def _end_with(heard: Connection) -> None:
    """End this process when its parent closes its end, or is no more: two must not train into the same files."""
    heard.poll(None)
    os._exit(1)


def _run(job: Job[Result]) -> Result:
    return job.run(lambda name, state: _reports.put((name, state)))
