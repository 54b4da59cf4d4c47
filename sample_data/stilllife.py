"""Two tables in the sun: a still life for stereo, and clutter in which objects are to be recognised."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sample_data import artwork, shapes, textures
from sample_data.bust import bust
from sample_data.courtyard import JAR, sky
from sample_data.raytrace import Material, Patch, Scene
from sample_data.textures import BRICK, LIMESTONE, SLATE


@dataclass(frozen=True)
class Cover:
    """A printed front: name, texture shape (rows, columns), size in metres (wide, deep, high)."""

    name: str
    shape: tuple[int, int]
    size: tuple[float, float, float]


LANDSCAPE = Cover("quiet_valley", (1320, 960), (0.208, 0.03, 0.286))
ORBITS = Cover("orbits", (1360, 960), (0.18, 0.025, 0.255))
TEA = Cover("mosaic_tea", (1320, 960), (0.176, 0.1, 0.242))
COVERS = (LANDSCAPE, ORBITS, TEA)


@functools.cache
def cover_art(cover: Cover) -> np.ndarray:
    """What is printed on a cover, (H, W, 3) float32 sRGB."""
    if cover is LANDSCAPE:
        return artwork.cover_landscape(cover.shape, 401)
    if cover is ORBITS:
        return artwork.cover_orbits(cover.shape, 402)
    if cover is TEA:
        return artwork.cover_tea(cover.shape, 403)
    return artwork.cover_shapes(cover.shape, sum(map(ord, cover.name)), cover.name.upper())


@dataclass(frozen=True)
class Place:
    """A covered box on a table: where its middle is (x, y), what it stands on, how it is turned (degrees)."""

    cover: Cover
    spot: tuple[float, float]
    turn: tuple[float, float, float]
    level: float = 0.0

    @property
    def _rotation(self) -> np.ndarray:
        return shapes.rotation(*self.turn)

    @property
    def _centre(self) -> np.ndarray:
        reach = np.abs(self._rotation[2]) @ np.array(self.cover.size) / 2
        return np.array([*self.spot, self.level + reach])

    def on_front(self, share: np.ndarray) -> np.ndarray:
        """World points (N, 3) at ``share`` (N, 2) of the front's width from its left and height from its top."""
        wide, deep, high = self.cover.size
        local = np.column_stack(
            [(share[:, 0] - 0.5) * wide, np.full(len(share), -deep / 2), (0.5 - share[:, 1]) * high]
        )
        return local @ self._rotation.T + self._centre

    def patches(self) -> list[Patch]:
        """The box itself."""
        art, size = cover_art(self.cover), self.cover.size
        texel = size[0] / art.shape[1]
        stuff = artwork.wrapped(art, shapes.box_texels(size, texel), texel, sum(map(ord, self.cover.name)) + 1)
        return shapes.box(self._centre, size, stuff, 0.02, self._rotation, 0.0015)


def _plain(title: str, size: tuple[float, float, float]) -> Cover:
    return Cover(title, (560, int(560 * size[0] / size[2])), size)


IN_SCENE = (
    Place(LANDSCAPE, (-0.335, 0.16), (14, -17, 6)),
    Place(TEA, (0.30, 0.14), (-27, 0, 0)),
)
"""Where the objects stand in the recognition scene."""


def table_with_objects() -> Scene:
    """The cluttered table; ``ORBITS`` is not on it."""
    others = (
        Place(_plain("cinder", (0.17, 0.035, 0.24)), (-0.06, -0.17), (24, -90, 0)),
        Place(_plain("harbour", (0.15, 0.03, 0.21)), (-0.045, -0.165), (-12, -90, 0), 0.035),
        Place(_plain("thistle", (0.16, 0.04, 0.25)), (0.57, 0.3), (-8, -6, 0)),
        Place(_plain("kestrel", (0.2, 0.05, 0.16)), (0.47, -0.1), (-35, 0, 0)),
        Place(_plain("umber", (0.16, 0.03, 0.22)), (-0.37, -0.2), (-31, -90, 0)),
        Place(_plain("drift", (0.17, 0.04, 0.24)), (0.23, -0.36), (62, -90, 0)),
        Place(_plain("sable", (0.14, 0.06, 0.2)), (-0.17, 0.3), (-16, 0, 0)),
    )
    patches = _table(421, textures.masonry((900, 2000), 0.002, 422, BRICK, (0.072, 0.078), (0.2, 0.26), 0.012), 0.75)
    for place in (*IN_SCENE, *others):
        patches += place.patches()
    patches += _crate((-0.33, 0.4), (0.46, 0.24, 0.3), 5, "LEMONS", 431)
    patches += bust((0.06, 0.42, 0.0), 0.62, 8, 432)
    patches += [
        _jar((0.165, -0.075), 0.27, 433),
        _jar((-0.43, -0.035), 0.2, 437),
        _jar((-0.33, -0.23), 0.16, 438, 0.03),
        _jar((-0.62, 0.12), 0.5, 434),
        _jar((0.42, 0.42), 0.42, 435),
    ]
    size, words = (0.26, 0.16, 0.07), [("EST MODUS", 0.03, 0.015, 0.035)]
    slab = artwork.inscription(shapes.box_texels(size, 0.001), 0.001, 439, words, 0.0014)
    patches += shapes.box((-0.04, -0.38, 0.035), size, slab, 0.006, shapes.rotation(-9), 0.008)
    return Scene([*patches, *_scattered(436, 45, (-0.75, 0.75), (-0.4, 0.3))], sky(), 0.04)


def still_life() -> Scene:
    """Objects from 1 m to 2.7 m away in front of a painted wall."""
    wall = artwork.fresco((1000, 2300), 0.0019, 441)
    patches = _table(442, wall, 1.15)
    patches += bust((0.02, 0.28, 0.16), 0.8, -14, 443)
    stone = artwork.inscription(
        shapes.box_texels((0.3, 0.28, 0.16), 0.0015), 0.0015, 444, [("VERITAS", 0.03, 0.045, 0.055)], 0.002
    )
    patches += shapes.box((0.02, 0.28, 0.08), (0.3, 0.28, 0.16), stone, 0.01, radius=0.01)
    patches += _crate((0.52, 0.42), (0.42, 0.34, 0.3), -18, "PEARS", 445)
    patches += _crate((-0.78, 0.75), (0.4, 0.34, 0.5), 20, "FIGS", 446)
    for place in (
        Place(TEA, (0.54, 0.4), (-32, 0, 0), 0.3),
        Place(_plain("lantern", (0.15, 0.03, 0.21)), (0.27, -0.22), (-28, -90, 0)),
        Place(_plain("cobalt", (0.2, 0.045, 0.26)), (-0.33, -0.1), (16, -90, 0)),
        Place(LANDSCAPE, (-0.12, 0.8), (6, -12, -3)),
    ):
        patches += place.patches()
    patches += [_jar((-0.48, 0.3), 0.62, 447), _jar((-0.31, -0.06), 0.3, 448, 0.045), _jar((0.3, 0.78), 0.75, 449)]
    column = textures.masonry(
        (700, 700), 0.002, 450, replace(LIMESTONE, bulge=0.0, rough=0.002), (0.3, 0.45), (3, 4), 0.01
    )
    patches.append(shapes.turned((0.93, 0.78, 0.0), [(0.13, 1.25), (0.14, 0.0)], column, 0.01))
    return Scene([*patches, *_scattered(451, 34, (-0.55, 0.6), (-0.5, 0.2))], sky(), 0.04)


def _table(seed: int, wall: Material, wall_y: float) -> list[Patch]:
    """A plank table 3.2 m wide that reaches the wall behind."""
    texel = 0.0015
    top = textures.wood((int((wall_y + 0.9) / texel), int(3.2 / texel)), texel, seed, 0.19)
    board = shapes.sheet((-1.6, wall_y, 0.0), (3.2, 0, 0), (0, -(wall_y + 0.85), 0), top, 0.012)
    high, wide = wall.shape[0] * wall.texel, wall.shape[1] * wall.texel
    back = shapes.sheet((-wide / 2, wall_y, high - 0.1), (wide, 0, 0), (0, 0, -high), wall, 0.012)
    return [board, back]


def _crate(spot: tuple[float, float], size: Sequence[float], yaw: float, word: str, seed: int) -> list[Patch]:
    lines = [(word, 0.05 * size[0], 0.2 * size[2], 0.2 * size[0])]
    planks = artwork.stencilled(shapes.box_texels(size, 0.0012), 0.0012, seed, lines)
    return shapes.box((*spot, size[2] / 2), size, planks, 0.015, shapes.rotation(yaw), 0.004)


def _jar(spot: tuple[float, float], scale: float, seed: int, level: float = 0.0) -> Patch:
    texel = 0.0011
    clay = artwork.pottery((int(1.2 * scale / texel), int(1.5 * scale / texel)), texel, seed)
    return shapes.turned((*spot, level), [(r * scale, h * scale) for r, h in JAR], clay, 0.004)


def _scattered(seed: int, count: int, x: tuple[float, float], y: tuple[float, float]) -> list[Patch]:
    """Pebbles on the table."""
    rng = np.random.default_rng(seed)
    spots = np.column_stack([rng.uniform(*x, count), rng.uniform(*y, count), np.zeros(count)])
    stone = textures.rock((900, 900), 0.0007, seed + 1, SLATE, 0.0012)
    return shapes.pebbles(spots, rng.uniform(0.008, 0.024, count), stone, seed + 2)
