"""Configurations to JSON and back. A key that is not known is an error that names the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from pipelines.core.errors import ConfigError

C = TypeVar("C")
_MAX_SEED = 2**31 - 1
"""COLMAP and OpenCV take seeds of 32 bits."""


def check_seed(seed: int) -> None:
    """Refuse a seed that the libraries do not take.

    Raises:
        ConfigError: it is negative or too large.
    """
    if not 0 <= seed <= _MAX_SEED:
        raise ConfigError(f"A seed of {seed} is not possible", f"it lies between 0 and {_MAX_SEED}", "--seed 0")


def known_name(kind: str, name: str, known: Collection[str], option: str, default: str = "") -> str:
    """Return a name if it is one of those that are known.

    Args:
        kind: what it is a name of, in an error's words.
        option: of the command line that takes it.
        default: what is advised where no known name is near.

    Raises:
        ConfigError: naming all that are known, and the nearest.
    """
    if name in known:
        return name
    by_case = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.5)
    advised = by_case[near[0]] if near else default
    what, why = f"There is no {kind} {name!r}", f"known are {', '.join(known)}"
    raise ConfigError(what, why, f"{option} {advised}" if advised else "")


def to_plain(config: object) -> Any:
    """A JSON value for a frozen dataclass of numbers, strings, tuples and further dataclasses."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, (tuple, list)):
        return [to_plain(item) for item in config]
    if isinstance(config, Mapping):
        return {key: to_plain(item) for key, item in config.items()}
    return config


def finite(plain: Any) -> Any:
    """A JSON value with null for the numbers that JSON has not: NaN and infinities."""
    if isinstance(plain, Mapping):
        return {key: finite(item) for key, item in plain.items()}
    if isinstance(plain, (tuple, list)):
        return [finite(item) for item in plain]
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def from_plain(kind: type[C], plain: Mapping[str, Any]) -> C:
    """The dataclass ``kind`` from what :func:`to_plain` made of it; absent keys take their default.

    Raises:
        ConfigError: an unknown key, with the nearest known one.
    """
    hints = typing.get_type_hints(kind)
    for key in plain:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            raise ConfigError(
                f"{kind.__name__} has no option {key!r}",
                f"known are {', '.join(hints)}",
                f"{near[0]!r} is the nearest" if near else "",
            )
    return kind(**{key: _value(hints[key], value) for key, value in plain.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _value(options[0], value)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_plain(typing.cast(type, hint), value)
    if isinstance(value, list):
        return tuple(value)
    return value
