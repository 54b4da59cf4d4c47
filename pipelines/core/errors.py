"""One hierarchy of errors that a user may see: what happened, why, and what to try. Each class has its exit code.

| code | class | meaning |
|------|-------|---------|
| 0 | – | done |
| 2 | ``ConfigError`` | an option or value is wrong (also used by the command line itself) |
| 3 | ``InputError`` | the photos or files given cannot be used |
| 4 | ``NoOverlapError`` | the photos are readable, but too few of them show the same place |
| 5 | ``NoModelError`` | there is overlap, but no model could be made of it |
| 6 | ``OutputError`` | the result cannot be written: read-only folder, full disk |
| 7 | ``BusyError`` | another run is at work in the same folder |
| 8 | ``NotFoundError`` | none of the photos to be localised was found in the map |
| 130 | – | interrupted by the user; a run in a folder can be continued |
"""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The text with what a terminal would obey, or cannot show, as escapes: control characters, lone surrogates."""
    return "".join(ascii(char)[1:-1] if unicodedata.category(char) in ("Cc", "Cs") else char for char in text)


class ReconError(Exception):
    """An error with one clear sentence for the user.

    Args:
        what: what happened, in plain words.
        why: the reason, as far as it is known.
        try_: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", try_: str = "") -> None:
        self.what = what
        self.why = why
        self.try_ = try_
        super().__init__(self.sentence)

    @property
    def sentence(self) -> str:
        """What, why and what to try, in one line."""
        text = self.what.rstrip(".")
        if self.why:
            text += f": {self.why.rstrip('.')}"
        text += "."
        if self.try_:
            text += f" Try: {self.try_.rstrip('.')}."
        return text


class ConfigError(ReconError):
    """An option, a name or a value is wrong."""

    exit_code = 2


class InputError(ReconError):
    """What was given as input cannot be used."""

    exit_code = 3


class NoOverlapError(ReconError):
    """The photos are readable but do not show the same place, as far as matching can tell."""

    exit_code = 4


class NoModelError(ReconError):
    """Photos overlap, but mapping made no model of them."""

    exit_code = 5


class OutputError(ReconError):
    """A result cannot be written."""

    exit_code = 6


class BusyError(ReconError):
    """Another process works in the same run folder."""

    exit_code = 7


class NotFoundError(ReconError):
    """None of the photos to be localised could be placed in the map."""

    exit_code = 8
