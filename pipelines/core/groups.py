"""Groups of items that links hold together."""

from __future__ import annotations

from collections.abc import Iterable


class Groups:
    """Items 0..count-1, each a group of its own until it is joined with others (union-find)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def root(self, item: int) -> int:
        """The item that stands for the group of another."""
        while self._above[item] != item:
            self._above[item] = self._above[self._above[item]]
            item = self._above[item]
        return item

    def join(self, one: int, other: int) -> bool:
        """Make one group of those of two items; False if it was one."""
        one, other = self.root(one), self.root(other)
        self._above[one] = other
        return one != other


def hanging_together(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Items 0..count-1 in groups that ``links`` hold together, the largest group first; one without links is a group
    of its own."""
    groups = Groups(count)
    for one, other in links:
        groups.join(one, other)
    members: dict[int, list[int]] = {}
    for item in range(count):
        members.setdefault(groups.root(item), []).append(item)
    return sorted(members.values(), key=lambda items: (-len(items), items))
