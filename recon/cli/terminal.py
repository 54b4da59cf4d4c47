"""The terminal: progress bars where somebody watches, plain lines where nobody does, JSON on request."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipelines.core.progress import Silent, Task

_LINE_EVERY = 10.0
"""Seconds between two lines of a stage when the output is not a terminal."""


class _BarTask:
    def __init__(self, bars: Any, task_id: Any) -> None:
        self._bars = bars
        self._id = task_id

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._bars.update(self._id, advance=steps, note=note)


class _Warnings:
    """Keeps warnings for the JSON of a command, and prints them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep a line on the screen, and for the JSON."""
        self.warnings.append(text)
        print(text, file=sys.stderr, flush=True)


class Bars(_Warnings):
    """Progress bars with what is in hand and how long is left."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Task]:
        """Show a bar for one stage, and keep a line about it when it is done."""
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        class Note(TextColumn):
            def render(self, task: Any) -> Any:
                return escape(str(task.fields.get("note", ""))[-40:])

        columns = (
            TextColumn("{task.description:<13}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            Note(""),
        )
        console = Console(stderr=True)
        begin = time.perf_counter()
        with RichProgress(*columns, console=console, transient=True) as bars:
            yield _BarTask(bars, bars.add_task(name, total=total, note=""))
        self._say_done(name, total, begin)

    def _say_done(self, name: str, total: int | None, begin: float) -> None:
        count = f"{total:>6}" if total is not None else ""
        self.say(f"{name:<13} {count}  {time.perf_counter() - begin:6.1f} s")

    def say(self, text: str) -> None:
        """Keep a line on the screen."""
        print(text, file=sys.stderr, flush=True)


class _LineTask:
    def __init__(self, name: str, total: int | None) -> None:
        self._name, self._total, self._done = name, total, 0
        self._begin = self._said = time.perf_counter()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.perf_counter()
        if now - self._said < _LINE_EVERY:
            return
        self._said = now
        left = ""
        if self._total:
            seconds = (now - self._begin) / max(self._done, 1) * (self._total - self._done)
            left = f" of {self._total}, about {seconds:.0f} s left"
        print(f"{self._name}: {self._done}{left} {note}".rstrip(), file=sys.stderr, flush=True)


class Lines(Bars):
    """A line every ten seconds and one at the end of each stage: for logs and pipes."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Task]:
        """Follow one stage."""
        begin = time.perf_counter()
        yield _LineTask(name, total)
        self._say_done(name, total, begin)


class Quiet(_Warnings, Silent):
    """No progress, but what a user must know of his result."""


def progress_for(quiet: bool) -> Bars | Quiet:
    """Bars on a terminal, lines elsewhere, nothing but warnings if ``quiet``."""
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Lines()


def print_json(value: Any) -> None:
    """Machine-readable result on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table, columns as wide as they need to be; the last column is not padded."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
