"""Shapes as textured grids: sheets, lofts, turned bodies, rounded boxes, carved heads, scattered stones.

Grids follow ``Patch``: seen from outside, columns go right and rows go down. Lengths in metres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sample_data.raytrace import Material, Patch

Curve = Sequence[tuple[float, float]]
Point = Sequence[float] | np.ndarray


def grid_patch(
    base: np.ndarray,
    uv: np.ndarray,
    material: Material,
    fade: np.ndarray | float = 1.0,
    normal: np.ndarray | None = None,
) -> Patch:
    """A patch over smooth points ``base`` (R, C, 3), displaced by the material's relief times ``fade``.

    ``uv`` (R, C, 2) in texels, any smooth map that is not mirrored as seen from outside.
    """
    along, down = np.gradient(base, axis=1), np.gradient(base, axis=0)
    outward = _unit(np.cross(down, along)) if normal is None else normal
    u_along, v_along = np.moveaxis(np.gradient(uv, axis=1), -1, 0)
    u_down, v_down = np.moveaxis(np.gradient(uv, axis=0), -1, 0)
    tangent = _unit(along * v_down[..., None] - down * v_along[..., None])
    tangent *= np.sign(u_along * v_down - u_down * v_along)[..., None]
    tangent = _unit(tangent - outward * np.sum(outward * tangent, axis=-1, keepdims=True))
    spacing = float(np.median(np.linalg.norm(along, axis=-1)))
    relief = material.relief(uv.astype(np.float32), spacing) * fade
    return Patch(base + outward * relief[..., None], outward, tangent, uv, material)


def sheet(origin: Point, right: Point, down: Point, material: Material, spacing: float) -> Patch:
    """A flat rectangle from its top-left corner and its two sides (3,), which the material covers from texel 0."""
    across = _ticks(float(np.linalg.norm(right)), spacing)
    along = _ticks(float(np.linalg.norm(down)), spacing)
    base = np.asarray(origin, float) + np.multiply.outer(along / along[-1], np.asarray(down, float))[:, None]
    base = base + np.multiply.outer(across / across[-1], np.asarray(right, float))[None]
    uv = np.stack(np.broadcast_arrays(across[None, :], along[:, None]), axis=-1) / material.texel
    return grid_patch(base, uv, material)


def loft(curves: np.ndarray, material: Material, spacing: float) -> Patch:
    """A skin over K curves (K, N, 3), each the next row down; the texture is laid by length.

    The relief fades at the first and the last curve, so that the skin closes with its neighbours.
    """
    stages = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curves, axis=0), axis=-1).mean(1))])
    down = _ticks(stages[-1], spacing)
    index = np.clip(np.searchsorted(stages, down, side="right") - 1, 0, len(curves) - 2)
    share = ((down - stages[index]) / (stages[index + 1] - stages[index]))[:, None, None]
    base = (1 - share) * curves[index] + share * curves[index + 1]
    steps = np.linalg.norm(np.diff(curves[len(curves) // 2], axis=0), axis=-1)
    across = np.concatenate([[0], np.cumsum(steps)])
    uv = np.stack(np.broadcast_arrays(across[None, :], down[:, None]), axis=-1)
    rim = np.minimum(down, down[-1] - down)[:, None]
    return grid_patch(base, uv / material.texel, material, fade=np.clip(rim / 0.05, 0, 1))


def turned(
    foot: Point,
    profile: Curve,
    material: Material,
    spacing: float,
    shape: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    tilt: np.ndarray | None = None,
) -> Patch:
    """A body turned about the vertical through ``foot``: (radius, height) pairs from the top down.

    The seam lies behind (towards +y). ``shape(angle, height)`` scales the radius, which makes flutes and fractures;
    ``tilt`` (3, 3) turns the body about its foot.
    """
    points = np.asarray(profile, float)
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    down = _ticks(lengths[-1], spacing)
    radius, height = np.interp(down, lengths, points[:, 0]), np.interp(down, lengths, points[:, 1])
    widest = points[:, 0].max()
    angle = np.linspace(0.5 * np.pi, 2.5 * np.pi, max(int(2 * np.pi * widest / spacing), 24))
    scale = np.ones((len(down), len(angle))) if shape is None else shape(angle[None, :], height[:, None])
    reach = radius[:, None] * scale
    rise = np.broadcast_to(height[:, None], reach.shape)
    base = np.stack([reach * np.cos(angle), reach * np.sin(angle), rise], axis=-1)
    base = (base if tilt is None else base @ tilt.T) + np.asarray(foot, float)
    uv = np.stack(np.broadcast_arrays((angle - angle[0])[None, :] * widest, down[:, None]), axis=-1)
    return grid_patch(base, uv / material.texel, material, fade=np.minimum(radius / 0.05, 1)[:, None])


def disc(centre: Point, radius: float, material: Material, spacing: float, tilt: np.ndarray | None = None) -> Patch:
    """A round, slightly domed end that faces up, or where ``tilt`` (3, 3) turns it; the material's middle is in it."""
    reach = np.linspace(0.002, radius, max(int(radius / spacing), 4))[:, None]
    azimuth = np.linspace(0.5 * np.pi, 2.5 * np.pi, max(int(2 * np.pi * radius / spacing), 24))[None, :]
    dome = 0.12 * radius * np.sqrt(1 - 0.999 * (reach / radius) ** 2) + 0 * azimuth
    base = np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), dome], axis=-1)
    base = (base if tilt is None else base @ tilt.T) + np.asarray(centre, float)
    middle = np.array(material.shape[::-1]) / 2
    around = np.stack([reach * np.cos(azimuth), -reach * np.sin(azimuth)], axis=-1) / material.texel
    return grid_patch(base, middle + around, material, fade=np.clip((radius - reach) / 0.04, 0, 1))


def box_texels(size: Sequence[float], texel: float) -> tuple[int, int]:
    """The shape (rows, columns) of a material for ``box``: the four walls in a strip, top and underside below."""
    x, y, z = size
    return int(np.ceil((z + y) / texel)) + 2, int(np.ceil(2 * (x + y) / texel)) + 2


def box(
    centre: Point,
    size: Sequence[float],
    material: Material,
    spacing: float,
    turn: np.ndarray | None = None,
    radius: float = 0.01,
) -> list[Patch]:
    """A box with rounded edges; ``turn`` (3, 3) turns it about its centre.

    The material is a strip of front (-y), right, back, left, with the top and the underside below them. Its outer
    corner, half a texel before the centre of texel (0, 0), is the front's top-left corner.
    """
    turn = np.eye(3) if turn is None else turn
    x, y, z = size
    faces = (
        ((1, 0, 0), (0, 0, -1), (0, -1, 0), (x, z, y), (0, 0)),
        ((0, 1, 0), (0, 0, -1), (1, 0, 0), (y, z, x), (x, 0)),
        ((-1, 0, 0), (0, 0, -1), (0, 1, 0), (x, z, y), (x + y, 0)),
        ((0, -1, 0), (0, 0, -1), (-1, 0, 0), (y, z, x), (2 * x + y, 0)),
        ((1, 0, 0), (0, -1, 0), (0, 0, 1), (x, y, z), (0, z)),
        ((1, 0, 0), (0, 1, 0), (0, 0, -1), (x, y, z), (x, z)),
    )
    core = np.asarray(size) / 2 - radius
    patches = []
    for right, down, outward, (wide, high, deep), corner in faces:
        across, along = _edged(wide, spacing, radius), _edged(high, spacing, radius)
        flat = np.asarray(outward) * deep / 2 + (across[None, :, None] - wide / 2) * np.asarray(right)
        flat = flat + (along[:, None, None] - high / 2) * np.asarray(down)
        inner = np.clip(flat, -core, core)
        normal = _unit(flat - inner)
        uv = np.stack(np.broadcast_arrays(across[None, :] + corner[0], along[:, None] + corner[1]), axis=-1)
        border = np.minimum(np.minimum(across, wide - across)[None, :], np.minimum(along, high - along)[:, None])
        fade = np.clip(border / (2 * radius + 0.01), 0, 1)
        base = (inner + radius * normal) @ turn.T + np.asarray(centre, float)
        patches.append(grid_patch(base, uv / material.texel - 0.5, material, fade=fade, normal=normal @ turn.T))
    return patches


def rotation(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(3, 3) turn in degrees: roll about y, then pitch about x, then yaw about z."""
    a, b, c = np.deg2rad([yaw, pitch, roll])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_y = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    return about_z @ about_x @ about_y


def star(
    centre: Point,
    distance: Callable[[np.ndarray], np.ndarray],
    reach: float,
    material: Material,
    spacing: float,
    turn: np.ndarray | None = None,
    low_deg: float = -85.0,
) -> Patch:
    """The surface that rays from ``centre`` meet last: ``distance`` maps local points (N, 3) to signed distances (N,).

    Rays are followed from ``reach`` metres inwards. The surface is left open below the elevation ``low_deg``.
    """
    columns = int(2 * np.pi * reach * 0.6 / spacing)
    elevation = np.deg2rad(np.linspace(89.5, low_deg, columns // 2))[:, None]
    azimuth = np.linspace(0.5 * np.pi, 2.5 * np.pi, columns)[None, :]
    ring = np.cos(elevation)
    rays = np.stack(np.broadcast_arrays(ring * np.cos(azimuth), ring * np.sin(azimuth), np.sin(elevation)), axis=-1)
    flat = rays.reshape(-1, 3)
    radius = np.full(len(flat), reach)
    for _ in range(30):
        radius = np.maximum(radius - 0.8 * distance(flat * radius[:, None]), 0.01)
    base = (flat * radius[:, None]).reshape(rays.shape)
    base = base @ (np.eye(3) if turn is None else turn).T + np.asarray(centre, float)
    size = float(np.median(radius))
    uv = np.stack(np.broadcast_arrays((azimuth - azimuth[0, 0]) * size, (elevation[0] - elevation) * size), axis=-1)
    return grid_patch(base, uv / material.texel, material, fade=np.minimum(ring * 8, 1))


def pebbles(centres: np.ndarray, sizes: np.ndarray, material: Material, seed: int) -> list[Patch]:
    """Stones lying about: flattened, dented spheres (N, 3), (N,), each with its own window of the material."""
    rng = np.random.default_rng(seed)
    patches = []
    for centre, size in zip(centres, sizes, strict=True):
        count = int(np.clip(size * 160, 10, 60))
        polar = np.linspace(0.03, 0.62 * np.pi, count)[:, None]
        azimuth = np.linspace(0.5 * np.pi, 2.5 * np.pi, 2 * count)[None, :]
        rays = np.stack(
            np.broadcast_arrays(np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)), -1
        )
        dents = np.ones(rays.shape[:2])
        for _ in range(9):
            axis = _unit(rng.standard_normal(3))
            dents = np.minimum(dents, rng.uniform(0.72, 1.0) / np.maximum(rays @ axis, 0.35))
        stretch = size * np.array([rng.uniform(0.85, 1.3), rng.uniform(0.8, 1.1), rng.uniform(0.5, 0.85)])
        base = (rays * dents[..., None] * stretch) @ rotation(rng.uniform(-90, 90)).T + centre
        reach = 0.62 * np.pi * size / material.texel
        middle = rng.uniform(reach, np.maximum(np.array(material.shape[::-1]) - reach, reach + 1))
        around = np.stack(np.broadcast_arrays(polar * np.cos(azimuth), -polar * np.sin(azimuth)), axis=-1)
        patches.append(grid_patch(base, middle + around * size / material.texel, material))
    return patches


def _ticks(length: float, spacing: float) -> np.ndarray:
    return np.linspace(0, length, max(round(length / spacing), 2) + 1)


def _edged(length: float, spacing: float, radius: float) -> np.ndarray:
    edge = np.linspace(0, radius, 4)
    middle = np.linspace(radius, length - radius, max(int((length - 2 * radius) / spacing), 2) + 1)
    return np.concatenate([edge[:-1], middle, length - edge[::-1][1:]])


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
