"""Frozen dataclasses that are made in a quarter of the time.

:func:`dataclasses.dataclass` writes and compiles eight methods for each frozen class, 0.5 ms; the sixty classes of a
command take 0.03 s of its start. Here only ``__init__`` is compiled; the other methods are the same for all classes.
To type checkers it is the standard one, and so it is at run time for whatever is not plainly frozen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(cls: Any = None, /, *, frozen: bool = False, **options: Any) -> Any:
        """:func:`dataclasses.dataclass`."""
        if cls is None:
            return lambda given: dataclass(given, frozen=frozen, **options)
        if not frozen or options or dataclasses.is_dataclass(cls):
            return dataclasses.dataclass(cls, frozen=frozen, **options)
        made = dataclasses.dataclass(cls, eq=False, repr=False)
        for method in (__setattr__, __delattr__, __eq__, __hash__, __repr__):
            if method.__name__ not in cls.__dict__:
                setattr(made, method.__name__, method)
        made.__dataclass_params__.frozen = True
        return made

    def __setattr__(self: Any, name: str, value: Any) -> None:
        """Let ``__init__`` set each field once."""
        if name in self.__dict__ or name not in self.__dataclass_fields__:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        self.__dict__[name] = value

    def __delattr__(self: Any, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def _values(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self) if field.compare)

    def __eq__(self: Any, other: object) -> bool:
        return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(_values(self))

    def __repr__(self: Any) -> str:
        told = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
        return f"{self.__class__.__qualname__}({', '.join(told)})"


__all__ = ["dataclass"]
