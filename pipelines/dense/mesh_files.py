"""A coloured triangle mesh, and the files that other programs read it from: PLY, OBJ, GLB."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError
from pipelines.export.ply import FACE, ORIENTED, ply_bytes
from pipelines.store.files import write_atomic


@dataclass(frozen=True)
class Mesh:
    """Triangles with a colour at each corner.

    Attributes:
        xyz: (V,3) float64, map units.
        normals: (V,3) float32, outwards.
        rgb: (V,3) uint8.
        faces: (F,3) int32 vertices, counter-clockwise seen from outside.
    """

    xyz: NDArray[np.float64]
    normals: NDArray[np.float32]
    rgb: NDArray[np.uint8]
    faces: NDArray[np.int32]


def write_mesh(mesh: Mesh, path: Path) -> None:
    """Write a mesh in the form that the file's ending names.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(path, lambda stream: _WRITERS[path.suffix](mesh, stream))


def read_mesh(path: Path) -> Mesh:
    """A mesh back from the PLY file of :func:`write_mesh`.

    Raises:
        InputError: it is none.
    """
    content = path.read_bytes()
    head, end, body = content.partition(b"end_header\n")
    counts = [
        int(line.split()[-1])
        for line in head.decode("ascii", "replace").splitlines()
        if " vertex " in line or " face " in line
    ]
    if not end or len(counts) != 2 or len(body) != counts[0] * ORIENTED.itemsize + counts[1] * FACE.itemsize:
        raise InputError(f"{path} cannot be read", "it is no mesh of recon dense, or damaged", "recon dense again")
    vertices = np.frombuffer(body, ORIENTED, counts[0])
    faces = np.frombuffer(body, FACE, counts[1], offset=counts[0] * ORIENTED.itemsize)["corners"]
    xyz, normals, rgb = (
        np.column_stack([vertices[name] for name in names])
        for names in (("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue"))
    )
    return Mesh(xyz.astype(np.float64), normals, rgb, faces.astype(np.int32))


def _ply(mesh: Mesh, stream: BinaryIO) -> None:
    stream.write(ply_bytes(mesh.xyz, mesh.rgb, mesh.faces, mesh.normals))


def _obj(mesh: Mesh, stream: BinaryIO) -> None:
    """Colours follow the coordinates of ``v``, as MeshLab, Blender and open3d read them."""
    corners = np.repeat(mesh.faces + 1, 2, axis=1)
    _lines(stream, "v %.7g %.7g %.7g %.4f %.4f %.4f\n", np.column_stack([mesh.xyz, mesh.rgb / 255]))
    _lines(stream, "vn %.4f %.4f %.4f\n", mesh.normals)
    _lines(stream, "f %d//%d %d//%d %d//%d\n", corners)


def _lines(stream: BinaryIO, form: str, table: NDArray) -> None:
    """A line for each row; many at once, which is ten times as fast as one by one."""
    for first in range(0, len(table), 50_000):
        part = table[first : first + 50_000]
        stream.write((form * len(part) % tuple(part.ravel().tolist())).encode("ascii"))


def _glb(mesh: Mesh, stream: BinaryIO) -> None:
    """glTF 2.0, binary. Its y axis points up and recon's models have y down, so the node turns the mesh over."""
    colours = np.column_stack([mesh.rgb, np.full(len(mesh.rgb), 255, np.uint8)])
    middle = mesh.xyz.mean(axis=0) if len(mesh.xyz) else np.zeros(3)  # 32-bit coordinates: small ones are exact
    places = (mesh.xyz - middle).astype("<f4")
    blocks = [places.tobytes(), mesh.normals.astype("<f4").tobytes(), colours.tobytes()]
    blocks.append(mesh.faces.astype("<u4").tobytes())
    starts = np.cumsum([0, *(len(block) for block in blocks)])
    targets = (34962, 34962, 34962, 34963)
    views = [
        {"buffer": 0, "byteOffset": int(start), "byteLength": len(block), "target": target}
        for start, block, target in zip(starts, blocks, targets, strict=False)
    ]
    low, high = (places.min(axis=0), places.max(axis=0)) if len(places) else (np.zeros(3), np.zeros(3))
    count = len(places)
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3", "min": low.tolist()}
        | {"max": high.tolist()},
        {"bufferView": 1, "componentType": 5126, "count": count, "type": "VEC3"},
        {"bufferView": 2, "componentType": 5121, "count": count, "type": "VEC4", "normalized": True},
        {"bufferView": 3, "componentType": 5125, "count": mesh.faces.size, "type": "SCALAR"},
    ]
    parts = {"attributes": {"POSITION": 0, "NORMAL": 1, "COLOR_0": 2}, "indices": 3, "material": 0}
    upright = np.diag([1.0, -1.0, -1.0])
    node = {"mesh": 0, "rotation": [1.0, 0.0, 0.0, 0.0], "translation": (upright @ middle).tolist()}
    surface = {"baseColorFactor": [1, 1, 1, 1], "metallicFactor": 0, "roughnessFactor": 1}
    scene = {
        "asset": {"version": "2.0", "generator": "recon dense"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [{"primitives": [parts]}],
        "materials": [{"pbrMetallicRoughness": surface, "doubleSided": True}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": int(starts[-1])}],
    }
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    size = 12 + 8 + len(text) + 8 + int(starts[-1])
    stream.write(struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON") + text)
    stream.write(struct.pack("<I4s", int(starts[-1]), b"BIN\0"))
    for block in blocks:
        stream.write(block)


_WRITERS: dict[str, Callable[[Mesh, BinaryIO], None]] = {".ply": _ply, ".obj": _obj, ".glb": _glb}
ENDINGS = tuple(ending[1:] for ending in _WRITERS)
