"""Groups of items that links hold together."""

from __future__ import annotations

from collections.abc import Iterable


def hanging_together(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Items 0..count-1 in groups that ``links`` hold together, the largest group first; one without links is a group
    of its own."""
    group = list(range(count))

    def root(item: int) -> int:
        while group[item] != item:
            group[item] = group[group[item]]
            item = group[item]
        return item

    for one, other in links:
        group[root(one)] = root(other)
    members: dict[int, list[int]] = {}
    for item in range(count):
        members.setdefault(root(item), []).append(item)
    return sorted(members.values(), key=lambda items: (-len(items), items))
