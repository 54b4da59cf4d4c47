"""What the data sets of a benchmark are called."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def named(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by their names, each once; where two have one name, with as much of their paths as tells them apart."""
    paths = list(dict.fromkeys(folder.resolve() for folder in folders))
    return {_name(path, paths): path for path in paths}


def _name(path: Path, paths: Sequence[Path]) -> str:
    for length in range(1, len(path.parts) + 1):
        end = path.parts[-length:]
        if sum(other.parts[-length:] == end for other in paths) == 1:
            break
    return "/".join(end).lstrip("/")


def in_file(name: str) -> str:
    """The name of a data set or contestant as part of a file's name."""
    return name.replace("/", "-").replace(" ", "-")
