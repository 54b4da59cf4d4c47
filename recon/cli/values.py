"""Values of options without pydantic, which typer asks to convert each of them: 0.1 s of every command's start.

Texts, numbers and paths need no more than Python's own types. What these do not take is left to typer, so that its
messages stay, and so is every option with limits or checks of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

import typer.core


def _whole(value: Any) -> int:
    if not isinstance(value, (int, str)):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, (int, float, str)):
        raise ValueError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _path(value: Any) -> Path:
    if os.path.exists(value) and not os.access(value, os.R_OK):
        raise ValueError
    return Path(value)


_CONVERT: dict[Any, Callable[[Any], Any]] = {bool: _flag, int: _whole, float: _number, str: _text, Path: _path}
_CHECKS = {"min": None, "max": None, "parser": None, "exists": False, "file_okay": True, "dir_okay": True,
           "writable": False, "readable": True, "resolve_path": False, "allow_dash": False,
           "path_type": None}  # fmt: skip
"""Attributes of an option, and what they are where typer does nothing but convert."""


def descriptor_name(text: str) -> str:
    """A descriptor as a map keeps it: a name of the zoo, or the whole path of a file, for use from other folders."""
    path = Path(text)
    return str(path.resolve()) if path.suffix in (".py", ".safetensors") and path.is_file() else text


def comma_separated(text: str) -> list[str]:
    """The names in a list such as ``sift, l2net``."""
    return [name.strip() for name in text.split(",") if name.strip()]


class _Plain:
    """Stands in for typer's ``RuntimeParam``."""

    def __init__(self, convert: Callable[[Any], Any], several: bool) -> None:
        self._convert, self._several = convert, several

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The value as the command takes it.

        Raises:
            typer.BadParameter: it cannot be converted.
        """
        if value is None:
            return () if self._several else None
        try:
            return [self._convert(item) for item in value] if self._several else self._convert(value)
        except ValueError:
            from typer._coercion import build_runtime_param

            return build_runtime_param(param.type_descriptor).coerce(value, param=param, ctx=ctx)


def _plain_for(param: Any) -> _Plain | None:
    """What converts an option's value, None where typer is to do it."""
    described = param.type_descriptor
    if any(getattr(described.parameter_info, name, usual) != usual for name, usual in _CHECKS.items()):
        return None
    several = get_origin(described.annotation) is list
    kind = get_args(described.annotation)[0] if several else described.annotation
    if kind not in _CONVERT or several != (param.multiple or param.nargs == -1):
        return None
    return _Plain(_CONVERT[kind], several)


def convert_plainly() -> None:
    """Let all commands convert their plain options without pydantic; for versions of typer that would ask it."""
    params = getattr(typer.core, "_TyperParameter", None)
    if params is None or not hasattr(params, "get_runtime_param"):
        return
    asked = params.get_runtime_param

    def get_runtime_param(self: Any) -> Any:
        if self._runtime_param is None:
            self._runtime_param = _plain_for(self)
        return asked(self)

    params.get_runtime_param = get_runtime_param
