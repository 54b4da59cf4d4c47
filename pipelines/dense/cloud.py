"""The cloud as a PLY file, written photo by photo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.dense.fuse import POINT
from pipelines.export.ply import ORIENTED, header
from pipelines.store.files import write_atomic


def write_cloud(path: Path, parts: Iterable[NDArray[np.void]]) -> int:
    """Write points with normals and colours as binary PLY; only one part is held at a time. Returns their number.

    Raises:
        OutputError: the file cannot be written.
    """
    count = 0

    def write(stream: BinaryIO) -> None:
        nonlocal count
        stream.write(_header(0))
        for part in parts:
            vertices = np.empty(len(part), ORIENTED)
            for name in ORIENTED.names or ():
                vertices[name] = part[name]
            stream.write(vertices.tobytes())
            count += len(part)
        stream.seek(0)
        stream.write(_header(count))

    write_atomic(path, write)
    return count


def _header(count: int) -> bytes:
    """The header, of the same length for every count."""
    return header(ORIENTED, count, comment=f"made by recon dense{'':{12 - len(str(count))}}")


def thinned(
    parts: Iterable[tuple[int, NDArray[np.void]]], total: int, limit: int
) -> tuple[NDArray[np.void], NDArray[np.int32]]:
    """At most about ``limit`` of ``total`` points, chosen evenly from all photos, and the photo of each.

    The sizes of points grow as the distances between them do.

    Args:
        parts: index of a photo, and its points.
        total: points of all parts.
        limit: points kept.
    """
    share = min(1.0, limit / max(total, 1))
    rng = np.random.default_rng(0)
    kept, source = [np.empty(0, POINT)], [np.empty(0, np.int32)]
    for index, part in parts:
        some = part if share == 1 else part[rng.random(len(part)) < share]
        some["size"] /= np.sqrt(share)
        kept.append(some)
        source.append(np.full(len(some), index, np.int32))
    return np.concatenate(kept), np.concatenate(source)
