"""Whether the binary files of a COLMAP model are whole.

COLMAP notices neither a full disk when it writes a model nor the end of a file when it reads one: from a file that
was cut off it takes whatever number comes, and may ask for all the memory there is. So a model's files are walked
from count to count before COLMAP sees them. The layout is that of COLMAP 4 (src/colmap/scene/reconstruction_io.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

_COUNT = struct.Struct("<Q")
_INT = struct.Struct("<i")
_SENSOR = 8
"""Bytes of a sensor's type and number."""
_POSE = 7 * 8
_CAMERA = 4 + 4 + 8 + 8
_IMAGE = 4 + _POSE + 4
_KEYPOINT = 2 * 8 + 8
_POINT = 8 + 3 * 8 + 3 + 8
_TRACK_ELEMENT = 4 + 4

Walk = Callable[[bytes, int, int], int]
"""(data, number of records, where they begin) -> where they end; struct.error or ValueError past the end."""


def counts(folder: Path, parameters: Mapping[int, int]) -> tuple[int, int] | None:
    """Numbers of photos and points that a binary model says it holds.

    Args:
        folder: with ``cameras.bin``, ``images.bin``, ``points3D.bin`` and, since COLMAP 4, ``rigs.bin`` and
            ``frames.bin``.
        parameters: number of parameters of each camera model, by COLMAP's number of the model.

    Returns:
        None if a file is missing, ends early or goes on after its last record.
    """

    def cameras(data: bytes, number: int, at: int) -> int:
        for _ in range(number):
            at += _CAMERA + 8 * parameters[_INT.unpack_from(data, at + 4)[0]]
        return at

    walks: dict[str, Walk] = {"cameras": cameras, "images": _images, "points3D": _points}
    found: dict[str, int | None] = {name: _whole(folder / f"{name}.bin", walk) for name, walk in walks.items()}
    for name, walk in (("rigs", _rigs), ("frames", _frames)):
        if (folder / f"{name}.bin").exists():
            found[name] = _whole(folder / f"{name}.bin", walk)
    images, points = found["images"], found["points3D"]
    return None if None in found.values() or images is None or points is None else (images, points)


def _whole(path: Path, walk: Walk) -> int | None:
    """Number of records of a file, None if it does not end where its last record does."""
    try:
        data = path.read_bytes()
        number = _COUNT.unpack_from(data)[0]
        return number if walk(data, number, _COUNT.size) == len(data) else None
    except (OSError, struct.error, ValueError, KeyError):
        return None


def _images(data: bytes, number: int, at: int) -> int:
    for _ in range(number):
        at = data.index(b"\0", at + _IMAGE) + 1
        at += _COUNT.size + _KEYPOINT * _COUNT.unpack_from(data, at)[0]
    return at


def _points(data: bytes, number: int, at: int) -> int:
    for _ in range(number):
        at += _POINT
        at += _COUNT.size + _TRACK_ELEMENT * _COUNT.unpack_from(data, at)[0]
    return at


def _rigs(data: bytes, number: int, at: int) -> int:
    for _ in range(number):
        sensors = _INT.unpack_from(data, at + 4)[0]
        at += 8 + _SENSOR * (sensors > 0)
        for _ in range(sensors - 1):
            at += _SENSOR + 1
            at += _POSE * (data[at - 1 : at] == b"\1")
    return at


def _frames(data: bytes, number: int, at: int) -> int:
    for _ in range(number):
        at += 8 + _POSE
        at += 4 + (_SENSOR + 8) * _INT.unpack_from(data, at)[0]
    return at
