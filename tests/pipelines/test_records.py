"""Quick frozen dataclasses behave as the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from pipelines.core.records import dataclass


@dataclass(frozen=True)
class Record:
    """A record."""

    a: int
    b: float = 2.0
    c: tuple[int, ...] = dataclasses.field(default_factory=tuple, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "a", int(self.a))


def test_records_are_compared_told_copied_and_changed_like_dataclasses():
    one = Record(1)
    assert one == Record(1, c=(3,)) and one != Record(2) and one != (1, 2.0)
    assert hash(one) == hash((1, 2.0)) and repr(one) == "Record(a=1, b=2.0)"
    assert dataclasses.replace(one, b=3.0) == Record(1, 3.0) and dataclasses.is_dataclass(one)
    assert dataclasses.asdict(one) == {"a": 1, "b": 2.0, "c": ()}
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one


def test_records_stay_as_they_are():
    one = Record(1)
    for name in ("a", "new"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, 5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.a
    with pytest.raises(TypeError):
        Record()
