"""How a stage tells what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One running stage, as the listener sees it."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report that ``steps`` items are done; ``note`` names what is in hand."""
        ...


class Progress(Protocol):
    """A listener: the terminal, a log, or nobody."""

    def stage(self, name: str, total: int | None) -> AbstractContextManager[Task]:
        """Open a stage of ``total`` items (None if unknown), as a context manager that gives its Task."""
        ...

    def say(self, text: str) -> None:
        """A line that should stay on the screen."""
        ...

    def warn(self, text: str) -> None:
        """A line about what makes the result another one than was asked for: told whatever else is not."""
        ...


class _SilentTask:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class Silent:
    """Progress for libraries and tests: says nothing."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Task]:
        """Open a stage that nobody watches."""
        yield _SilentTask()

    def say(self, text: str) -> None:
        """Drop the line."""

    def warn(self, text: str) -> None:
        """Drop the line."""
