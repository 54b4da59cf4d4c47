"""Binary PLY: coloured points, with normals or without, and triangles between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.store.files import write_atomic

_PLACE, _TILT, _COLOUR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")


def _vertex(*floats: str) -> np.dtype:
    return np.dtype([(name, "<f4") for name in floats] + [(name, "u1") for name in _COLOUR])


# What every reader of clouds knows; double is not among it.
POINT, ORIENTED = _vertex(*_PLACE), _vertex(*_PLACE, *_TILT)
"""A coloured point, without a normal and with one."""
FACE = np.dtype([("count", "u1"), ("corners", "<i4", (3,))])
"""A triangle."""
_TYPES = {"f4": "float", "u1": "uchar"}


def header(vertex: np.dtype, count: int, faces: int | None = None, *, comment: str = "") -> bytes:
    """What stands before ``count`` vertices of a kind, and before triangles (:data:`FACE`) if there are to be any."""
    lines = ["ply", "format binary_little_endian 1.0", *([f"comment {comment}"] if comment else [])]
    lines.append(f"element vertex {count}")
    lines += [f"property {_TYPES[vertex[name].str[1:]]} {name}" for name in vertex.names or ()]
    if faces is not None:
        lines += [f"element face {faces}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header\n"]).encode("ascii")


def ply_bytes(
    xyz: NDArray[np.floating],
    rgb: NDArray[np.uint8],
    faces: NDArray[np.int32] | None = None,
    normals: NDArray[np.floating] | None = None,
) -> bytes:
    """A whole file.

    Args:
        xyz, rgb: (P,3) points and their colours.
        faces: (F,3) indices of points, None for a mere cloud.
        normals: (P,3).
    """
    vertices = np.empty(len(xyz), POINT if normals is None else ORIENTED)
    for names, columns in ((_PLACE, xyz), (_TILT, normals), (_COLOUR, rgb)):
        if columns is not None:
            for name, column in zip(names, columns.T, strict=True):
                vertices[name] = column
    if faces is None:
        return header(vertices.dtype, len(vertices)) + vertices.tobytes()
    triangles = np.empty(len(faces), FACE)
    triangles["count"], triangles["corners"] = 3, faces
    return header(vertices.dtype, len(vertices), len(faces)) + vertices.tobytes() + triangles.tobytes()


def write_ply(
    path: Path, xyz: NDArray[np.float64], rgb: NDArray[np.uint8], faces: NDArray[np.int32] | None = None
) -> None:
    """Coloured points, and triangles between them if given; see :func:`ply_bytes`.

    Raises:
        OutputError: the file cannot be written.
    """
    content = ply_bytes(xyz, rgb, faces)
    write_atomic(path, lambda stream: stream.write(content))
