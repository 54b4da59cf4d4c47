"""From the sphere of viewing directions to the panorama's plane: horizon, projections, canvas."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.core.errors import ConfigError
from pipelines.stitch.adjust import Array, Turned, rays

_GRID = 48


class Projection(NamedTuple):
    """A surface around the camera, unrolled. Directions are x right, y down, z ahead; the plane's unit is 1 radian
    (or the tangent) at its middle.

    Attributes:
        flatten: (M,3) directions -> (M,2); NaN where the surface does not reach.
        lift: (M,2) -> (M,3) directions.
        round: whether it goes all the way round.
    """

    flatten: Callable[[Array], Array]
    lift: Callable[[Array], Array]
    round: bool


def _plane(d: Array) -> Array:
    z = np.where(d[:, 2] > 0.05 * np.linalg.norm(d, axis=1), d[:, 2], np.nan)
    return d[:, :2] / z[:, None]


def _cylinder(d: Array) -> Array:
    across = np.hypot(d[:, 0], d[:, 2])
    across = np.where(across > 0.05 * np.linalg.norm(d, axis=1), across, np.nan)
    return np.stack([np.arctan2(d[:, 0], d[:, 2]), d[:, 1] / across], 1)


def _sphere(d: Array) -> Array:
    return np.stack([np.arctan2(d[:, 0], d[:, 2]), np.arctan2(d[:, 1], np.hypot(d[:, 0], d[:, 2]))], 1)


PROJECTIONS: Mapping[str, Projection] = {
    "plane": Projection(_plane, lambda p: np.c_[p, np.ones(len(p))], False),
    "cylinder": Projection(_cylinder, lambda p: np.stack([np.sin(p[:, 0]), p[:, 1], np.cos(p[:, 0])], 1), True),
    "sphere": Projection(
        _sphere,
        lambda p: np.stack([np.sin(p[:, 0]) * np.cos(p[:, 1]), np.sin(p[:, 1]), np.cos(p[:, 0]) * np.cos(p[:, 1])], 1),
        True,
    ),
}


class Piece(NamedTuple):
    """Where a photo lies on the canvas: left, top, width, height in canvas px, and by how far it is turned round.

    Attributes:
        shift: added to the plane's x, 0 or a full turn either way.
    """

    photo: int
    left: int
    top: int
    width: int
    height: int
    shift: float = 0.0


class Canvas(NamedTuple):
    """The panorama's frame.

    Attributes:
        name: of the projection.
        scale: px per unit of the plane.
        origin: (2,) plane coordinates of the centre of the top-left pixel.
        width, height: px.
        pieces: where the photos lie on it.
        closed: whether it goes all the way round, its right edge joining its left one.
    """

    name: str
    scale: float
    origin: tuple[float, float]
    width: int
    height: int
    pieces: tuple[Piece, ...]
    closed: bool = False


def straighten(rotations: Array) -> Array:
    """(N,3,3) cam_from_world in a world whose y points down and whose z points where the middle photo looks.

    People hold cameras level: the cameras' x axes lie in one plane, whose normal is up (Szeliski, Image alignment and
    stitching, 2006, 5.1; Brown and Lowe, 2007, 5). Photos that were taken above each other only share their x axis;
    then up is the mean of theirs.
    """
    right, down, ahead = rotations[:, 0], rotations[:, 1], rotations[:, 2]
    values, vectors = np.linalg.eigh(right.T @ right)
    if values[1] < 1e-3 * len(right):
        middle = right.mean(0) / np.linalg.norm(right.mean(0))
        vertical = down.mean(0) - middle * (down.mean(0) @ middle)
    else:
        vertical = vectors[:, 0] * np.sign(vectors[:, 0] @ down.sum(0) or 1.0)
    y = vertical / np.linalg.norm(vertical)
    first = np.linalg.svd(np.eye(3) - np.outer(y, y))[0][:, 0]
    second = np.cross(y, first)
    turns = np.arctan2(ahead @ second, ahead @ first)
    middle_turn = _opposite_of_gap(turns)
    z = math.cos(middle_turn) * first + math.sin(middle_turn) * second
    return rotations @ np.stack([np.cross(y, z), y, z], 1)


def _opposite_of_gap(turns: Array) -> float:
    """The middle of the photos' directions, rad: opposite of their largest gap."""
    ordered = np.sort(turns % (2 * np.pi))
    gaps = np.diff(ordered, append=ordered[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    return float(ordered[widest] + gaps[widest] / 2 + np.pi)


def _outline(cameras: Turned, index: int, size: tuple[int, int]) -> Array:
    """(M,3) world directions of a grid over a photo, its edges included."""
    width, height = size
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, _GRID), np.linspace(-height / 2, height / 2, _GRID))
    edge = np.column_stack([x.ravel(), y.ravel()])
    group = np.full(len(edge), cameras.group[index])
    flat = rays(edge, cameras.focals[group], cameras.distortions[group])
    return np.c_[flat, np.ones(len(flat))] @ cameras.rotations[index]


def _extent(cameras: Turned, index: int, size: tuple[int, int], projection: Projection) -> Array:
    """(2,2) least and largest plane coordinates of a photo, its x running on past the back; NaN if it has none."""
    outline = _outline(cameras, index, size)
    flat = projection.flatten(outline)
    if np.isnan(flat).any():
        return np.full((2, 2), np.nan)
    if projection.round:
        middle = projection.flatten(cameras.rotations[index][2][None])[0, 0]
        flat[:, 0] = middle + (flat[:, 0] - middle + np.pi) % (2 * np.pi) - np.pi
    low, high = flat.min(0), flat.max(0)
    for pole in (-1.0, 1.0):
        view = cameras.rotations[index] @ [0, pole, 0]
        f = cameras.focal(index)
        if projection.round and view[2] > 0 and (np.abs(view[:2] / view[2]) * f * 2 <= size).all():
            low[0], high[0] = -np.pi, np.pi
            (low if pole < 0 else high)[1] = pole * np.pi / 2
    return np.stack([low, high])


def choose(cameras: Turned, sizes: Sequence[tuple[int, int]]) -> str:
    """Plane up to 85 degrees either way, cylinder while nothing is more than 55 degrees up or down, else sphere."""
    spans = np.stack([_extent(cameras, i, size, PROJECTIONS["sphere"]) for i, size in enumerate(sizes)])
    low, high = spans[:, 0].min(0), spans[:, 1].max(0)
    if (high - low < math.radians(85)).all() and np.abs([low, high]).max() < math.radians(60):
        return "plane"
    return "cylinder" if max(-low[1], high[1]) < math.radians(55) else "sphere"


def lay_out(cameras: Turned, sizes: Sequence[tuple[int, int]], name: str, scale: float) -> Canvas:
    """The canvas that holds all photos.

    Args:
        sizes: (width, height) of each photo.
        name: a key of :data:`PROJECTIONS`.
        scale: px per radian.

    Raises:
        ConfigError: the projection cannot show a photo, e.g. a plane what lies behind the camera.
    """
    projection = PROJECTIONS[name]
    spans = np.stack([_extent(cameras, i, size, projection) for i, size in enumerate(sizes)])
    if np.isnan(spans).any():
        raise ConfigError(f"A {name} cannot show this panorama", "it spans too wide an angle", "--projection sphere")
    low, high = spans[:, 0].min(0), spans[:, 1].max(0)
    closed = projection.round and high[0] - low[0] > 2 * np.pi
    if closed:
        low[0] = _cut(cameras, (low[0] + high[0]) / 2)
        high[0] = low[0] + 2 * np.pi
        scale = max(1, round(2 * np.pi * scale)) / (2 * np.pi)  # so that the ends meet between two pixels
    width, height = (max(1, math.ceil(extent * scale - 1e-6)) for extent in high - low)
    origin = low + 0.5 / scale
    turns = (-2 * np.pi, 0.0, 2 * np.pi) if projection.round else (0.0,)
    pieces = []
    for index, (start, end) in enumerate(spans):
        for turn in turns:
            left, right = ((edge[0] + turn - low[0]) * scale for edge in (start, end))
            box = [max(0, math.floor(left)), min(width, math.ceil(right))]
            rows = [max(0, math.floor((start[1] - low[1]) * scale)), min(height, math.ceil((end[1] - low[1]) * scale))]
            if box[1] - box[0] >= 2 and rows[1] - rows[0] >= 2:
                pieces.append(Piece(index, box[0], rows[0], box[1] - box[0], rows[1] - rows[0], turn))
    return Canvas(name, scale, (float(origin[0]), float(origin[1])), width, height, tuple(pieces), bool(closed))


def _cut(cameras: Turned, middle: float) -> float:
    """Where a panorama that goes all the way round is cut open: through the middle of the photo nearest to the middle's
    back, so that no seam lies there."""
    ahead = cameras.rotations[:, 2]
    level = np.hypot(ahead[:, 0], ahead[:, 2]) > 0.5
    turns = np.arctan2(ahead[:, 0], ahead[:, 2])[level] if level.any() else np.array([middle + np.pi])
    off = (turns - (middle - np.pi) + np.pi) % (2 * np.pi) - np.pi
    return float(middle - np.pi + off[np.argmin(np.abs(off))])


def shrunk(canvas: Canvas, step: int) -> Canvas:
    """The same canvas with ``step`` times ``step`` pixels in one, for gains and seams."""
    pieces = []
    for piece in canvas.pieces:
        left, top = piece.left // step, piece.top // step
        right = max(left + 2, -(-(piece.left + piece.width) // step))
        bottom = max(top + 2, -(-(piece.top + piece.height) // step))
        pieces.append(piece._replace(left=left, top=top, width=right - left, height=bottom - top))
    low = [edge - 0.5 / canvas.scale for edge in canvas.origin]
    scale = canvas.scale / step
    return canvas._replace(
        scale=scale,
        origin=(low[0] + 0.5 / scale, low[1] + 0.5 / scale),
        width=max(piece.left + piece.width for piece in pieces),
        height=max(piece.top + piece.height for piece in pieces),
        pieces=tuple(pieces),
    )
