"""What the points of a map look like: a byte a dimension for each view of a point, read from disk as it is needed.

Of a photo only the keypoints that see a point are kept, in 128 bytes (RootSIFT) instead of 256 and together, so that a
query reads a few hundred kilobytes a photo. The table is mapped into memory, not read: a map of any size is searched in
the memory of the photos that look like the query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.core.progress import Progress, Task
from pipelines.features.extract import FeatureFiles
from pipelines.store.files import fingerprint
from pipelines.store.tables import KeptTable

_CODE = 1
_LEVELS = 127


class Looks:
    """Descriptors of the views of a model's points, photo by photo.

    Args:
        table: (M,D) int8, directions whose length says nothing, or (M,D/8) packed uint8 bits; in memory or mapped.
        counts: number of each photo -> keypoints of it that see a point, in the order of the table.
    """

    def __init__(self, table: NDArray, counts: Mapping[int, int]) -> None:
        self._table = table
        ends = np.cumsum(list(counts.values())).tolist()
        self._rows = {
            number: slice(end - count, end) for (number, count), end in zip(counts.items(), ends, strict=True)
        }

    def of(self, number: int) -> NDArray:
        """(K,D) float32 of unit length, or (K,D/8) bits: what a photo's keypoints that see a point look like."""
        rows = np.asarray(self._table[self._rows[number]])
        if rows.dtype == np.uint8:
            return rows
        rows = rows.astype(np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))


def read_looks(
    path: Path, files: FeatureFiles, point_of: Mapping[int, NDArray[np.int32]], *, progress: Progress
) -> Looks:
    """The table of a model: ``path-KEY.npy`` if it stands there and fits, else made and kept.

    A map that cannot be written is searched all the same; the table is then made for this once, in memory.

    Args:
        path: of the table, without the fingerprint of what it is made of and without the suffix.
        files: features of all photos of the map.
        point_of: number of a photo -> (K,) the point behind each of its keypoints, -1 for none.
        progress: told of the making.
    """
    keypoints = {number: np.flatnonzero(points >= 0) for number, points in point_of.items()}
    counts = {number: len(rows) for number, rows in keypoints.items()}
    made_of = [(files.keys[number], sha256(rows.tobytes()).hexdigest()) for number, rows in keypoints.items()]
    kept = KeptTable(path, fingerprint("looks", _CODE, made_of), "descriptors of points")
    total = sum(counts.values())

    def fits(table: NDArray) -> bool:
        return table.ndim == 2 and len(table) == total and table.dtype in (np.int8, np.uint8)

    table = kept.read(fits)
    if table is None:
        with progress.stage("Descriptors of points", len(counts)) as task:
            written = kept.write(lambda stream: _write(stream, files, keypoints, task), progress)
            table = kept.read(fits) if written else None
            if table is None:
                table = np.concatenate(list(_compact(files, keypoints)))
    return Looks(table, counts)


def _write(stream: BinaryIO, files: FeatureFiles, keypoints: Mapping[int, NDArray[np.intp]], task: Task) -> None:
    total = sum(len(rows) for rows in keypoints.values())
    for number, block in enumerate(_compact(files, keypoints)):
        if number == 0:
            header = {"descr": block.dtype.str, "fortran_order": False, "shape": (total, block.shape[1])}
            np.lib.format.write_array_header_1_0(stream, header)
        stream.write(block.tobytes())
        task.advance()


def _compact(files: FeatureFiles, keypoints: Mapping[int, NDArray[np.intp]]) -> Iterator[NDArray]:
    """(K,D) int8 or (K,D/8) packed uint8 of each photo."""
    for number, rows in keypoints.items():
        described = files.load_descriptors(number)[rows]
        if described.dtype != np.uint8:
            largest = np.abs(described).max(axis=1, keepdims=True, initial=1e-6).astype(np.float32)
            described = np.rint(described * (_LEVELS / largest)).astype(np.int8)
        yield described
