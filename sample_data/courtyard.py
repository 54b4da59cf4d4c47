"""The courtyard: a ruined wall with a painted niche, a bust on steps, columns, crates, a mural, stones, trees."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sample_data import artwork, shapes, textures
from sample_data.bust import bust
from sample_data.raytrace import Material, Patch, Scene, to_linear
from sample_data.textures import LIMESTONE, SANDSTONE, SLATE

WALL_Y = 6.2
"""The front of the back wall (m)."""
ARCH = (-0.45, 0.98, 1.75)
"""Middle, half width and springing height of the niche (m)."""
NICHE_DEPTH = 0.75


JAR = [
    (0.0, 0.74),
    (0.085, 0.74),
    (0.115, 0.735),
    (0.12, 0.71),
    (0.085, 0.68),
    (0.075, 0.6),
    (0.14, 0.54),
    (0.215, 0.42),
    (0.22, 0.34),
    (0.17, 0.18),
    (0.1, 0.04),
    (0.115, 0.0),
]
"""A jar's outline, (radius, height) from the top down, metres."""


def courtyard() -> Scene:
    """The whole scene, about 13 m across, looked at from the south."""
    patches = [*_ground(), *_back_wall(), *_niche(), *_side_walls(), *_steps(), *_columns(), *_things(), *_stones()]
    return Scene([*patches, *_trees()], sky())


def sky() -> np.ndarray:
    """Linear radiance (H, W, 3) of a sky with clouds, azimuth by sine of the elevation from the zenith down."""
    rng = np.random.default_rng(900)
    shape = (300, 1500)
    rise = np.linspace(1, 0, shape[0], dtype=np.float32)[:, None]
    colour = textures.mix(
        np.full((*shape, 3), (0.80, 0.85, 0.88), np.float32), (0.36, 0.55, 0.80), rise**0.5 + np.zeros(shape[1])
    )
    cloud = textures.fbm(shape, 170, rng, 7, 0.58, tall=0.6)
    colour = textures.mix(colour, (0.97, 0.96, 0.94), 0.85 * textures.step(cloud, 0.1, 1.6))
    return to_linear(colour) * 1.25


def _ground() -> list[Patch]:
    texel = 0.005
    left, right, near, far = -7.4, 7.4, -2.8, 7.0
    size = (right - left, far - near)
    flags = textures.paving((int(size[1] / texel) + 2, int(size[0] / texel) + 2), texel, 11)
    field = textures.earth((1000, 1000), 0.09, 12)
    court = shapes.sheet((left, far, 0.0), (size[0], 0, 0), (0, -size[1], 0), flags, 0.03)
    around = shapes.sheet((-44, 75, -0.05), (88, 0, 0), (0, -85, 0), field, 0.5)
    return [court, around]


def _ruin_top(x: np.ndarray) -> np.ndarray:
    """Height of the back wall's broken top over x (m)."""
    knots = [-4.9, -4.2, -3.5, -2.9, -2.1, -1.0, 0.2, 1.0, 1.35, 2.0, 2.35, 2.8, 3.1, 3.6]
    level = [2.9, 3.0, 3.35, 3.4, 3.9, 4.05, 3.95, 3.75, 3.35, 3.3, 2.7, 2.6, 1.9, 1.7]
    return np.interp(x, knots, level) + 0.03 * np.sin(23 * x) + 0.02 * np.sin(57 * x + 1)


def _wall(
    start: tuple[float, float],
    end: tuple[float, float],
    top: np.ndarray,
    material: Material,
    thick: float,
    spacing: float,
) -> list[Patch]:
    """A standing wall from ``start`` to ``end`` (x, y), as seen from its right-hand side, with a top and two ends."""
    count = len(top)
    line = np.linspace(start, end, count)
    along = (np.asarray(end) - start) / np.linalg.norm(np.asarray(end) - start)
    inward = thick * np.array([-along[1], along[0]])
    upper = np.column_stack([line, top])
    lower = np.column_stack([line, np.full(count, -0.1)])
    length = np.linspace(0, np.linalg.norm(np.asarray(end) - start), count)
    share = np.linspace(0, 1, int(top.max() / spacing))[:, None, None]
    front = (1 - share) * upper + share * lower
    depth = top.max() - front[..., 2]
    uv = np.stack([np.broadcast_to(length, depth.shape), depth], axis=-1)
    face = shapes.grid_patch(front, uv / material.texel, material)
    behind = upper + np.array([*inward, 0.0])
    cap = textures.rock((int(thick / 0.006) + 40, int(1.7 * length[-1] / 0.006)), 0.006, count, LIMESTONE, 0.02)
    crown = shapes.loft(np.stack([behind, face.points[0]]), cap, 0.04)
    edge = face.points[:, -1]
    gone = edge + np.array([*inward, 0.0])
    flank = textures.rock((int(4.2 / 0.006), int(thick / 0.006) + 40), 0.006, count + 1, LIMESTONE, 0.015)
    ends = [shapes.loft(np.stack([edge, gone], axis=1)[:: max(count // 80, 1)], flank, 0.03)]
    return [face, crown, *ends]


def _back_wall() -> list[Patch]:
    texel, spacing = 0.0042, 0.016
    start, end = (-4.9, WALL_Y), (3.6, WALL_Y)
    x = np.linspace(start[0], end[0], int((end[0] - start[0]) / spacing))
    top = _ruin_top(x)
    stones = textures.masonry((int(4.3 / texel), int(8.6 / texel)), texel, 21)
    face, *rest = _wall(start, end, top, stones, 0.55, spacing)
    middle, half, spring = ARCH
    away = np.where(
        face.points[..., 2] > spring, np.hypot(face.points[..., 0] - middle, face.points[..., 2] - spring), 0
    )
    away = np.maximum(away, np.abs(face.points[..., 0] - middle))
    solid = away > half + 0.05
    keep = solid[:-1, :-1] & solid[1:, 1:] & solid[1:, :-1] & solid[:-1, 1:]
    return [replace(face, keep=keep), *rest]


def _arch_line(reach: float, y: float) -> np.ndarray:
    """The niche's outline (160, 3), up the left side, over, and down the right, ``reach`` beyond the opening."""
    middle, half, spring = ARCH
    radius = half + reach
    turn = np.linspace(np.pi, 0, 120)
    bow = np.stack([middle + radius * np.cos(turn), np.full(len(turn), y), spring + radius * np.sin(turn)], axis=1)
    rise = np.linspace(0.0, spring, 20, endpoint=False)
    left = np.stack([np.full(20, middle - radius), np.full(20, y), rise], axis=1)
    right = np.stack([np.full(20, middle + radius), np.full(20, y), rise[::-1]], axis=1)
    return np.concatenate([left, bow, right])


def _niche() -> list[Patch]:
    middle, half, spring = ARCH
    texel = 0.004
    moulding = (
        (0.30, 0.06),
        (0.30, -0.035),
        (0.25, -0.07),
        (0.2, -0.05),
        (0.16, -0.085),
        (0.08, -0.085),
        (0.05, -0.045),
        (0.0, -0.04),
        (0.0, 0.1),
    )
    ring = np.stack([_arch_line(reach, WALL_Y + depth) for reach, depth in moulding])
    length = spring * 2 + np.pi * (half + 0.3)
    voussoirs = textures.masonry(
        (int(0.8 / texel), int(length / texel) + 40),
        texel,
        31,
        replace(SANDSTONE, bulge=0.01),
        (0.9, 1.0),
        (0.24, 0.36),
        0.016,
    )
    jamb = textures.masonry((int(NICHE_DEPTH / texel) + 40, int(length / texel) + 40), texel, 32, course=(0.2, 0.35))
    back_y = WALL_Y + 0.08 + NICHE_DEPTH
    tunnel = np.stack([_arch_line(0.0, WALL_Y + 0.08), _arch_line(0.0, back_y)])
    high, wide = spring + half + 0.05, 2 * half + 0.1
    picture = artwork.fresco((int(high / 0.0035) + 2, int(wide / 0.0035) + 2), 0.0035, 33)
    back = shapes.sheet((middle - wide / 2, back_y, high), (wide, 0, 0), (0, 0, -high), picture, 0.02)
    return [shapes.loft(ring, voussoirs, 0.012), shapes.loft(tunnel, jamb, 0.02), back]


def _side_walls() -> list[Patch]:
    texel = 0.0045
    left = artwork.mural_wall((int(2.9 / texel), int(5.2 / texel)), texel, 41)
    x = np.linspace(0, 1, 300)
    top = np.interp(
        x, [0, 0.12, 0.3, 0.55, 0.62, 0.8, 0.9, 1], [0.7, 1.15, 1.9, 2.25, 2.6, 2.65, 2.8, 2.8]
    ) + 0.02 * np.sin(60 * x)
    right = textures.masonry(
        (int(1.8 / texel), int(6.2 / texel)), texel, 42, SANDSTONE, (0.12, 0.26), (0.15, 0.5), 0.028
    )
    low = 1.15 + 0.2 * np.sin(3 + 5 * x) + 0.12 * np.sin(17 * x) + 0.03 * np.sin(71 * x)
    return [
        *_wall((-5.2, 1.2), (-4.75, 6.3), top, left, 0.4, 0.02),
        *_wall((5.4, 6.9), (6.6, 0.9), low, right, 0.45, 0.02),
    ]


def _steps() -> list[Patch]:
    texel = 0.004
    patches = []
    for level, (wide, depth) in enumerate(((3.6, 1.9), (3.0, 1.5), (2.4, 1.1))):
        size = (wide, depth, 0.17)
        stone = textures.masonry(
            shapes.box_texels(size, texel),
            texel,
            51 + level,
            replace(LIMESTONE, bulge=0.006),
            (0.5, 0.8),
            (0.5, 0.95),
            0.012,
        )
        patches += shapes.box(
            (ARCH[0], WALL_Y + 0.06 - depth / 2, 0.085 + 0.17 * level), size, stone, 0.02, radius=0.018
        )
    return patches


def _fluted(angle: np.ndarray, height: np.ndarray) -> np.ndarray:
    return 1 - 0.045 * np.abs(np.cos(9 * angle)) ** 0.7 + 0 * height


def _broken(angle: np.ndarray, height: np.ndarray) -> np.ndarray:
    return _fluted(angle, height) * (1 + 0.02 * np.sin(3 * angle + 40 * height))


def _columns() -> list[Patch]:
    texel = 0.0035
    drums = replace(LIMESTONE, bulge=0.0, rough=0.003, stones=((0.74, 0.68, 0.58), (0.70, 0.64, 0.55)), lichen=1.3)
    patches = []
    base = [(0.33, 0.16), (0.36, 0.13), (0.36, 0.09), (0.31, 0.07), (0.38, 0.04), (0.38, 0.0)]
    crown = [(0.0, 3.42), (0.40, 3.42), (0.41, 3.34), (0.38, 3.3), (0.33, 3.26), (0.29, 3.16), (0.27, 3.12)]
    for number, (x, y, top) in enumerate(((2.75, 4.55, 3.1), (4.15, 3.3, 1.75), (-3.0, 4.75, 1.05))):
        shaft = [(0.27 - 0.02 * top / 3, top), (0.30, 0.2), (0.30, 0.0)]
        stone = textures.masonry(
            (int((top + 0.9) / texel), int(1.95 / texel)), texel, 61 + number, drums, (0.55, 0.85), (3, 4), 0.012
        )
        patches.append(shapes.turned((x, y, 0.1), shaft, stone, 0.012, _fluted if top > 3 else _broken))
        foot = textures.rock((int(0.5 / texel), int(2.5 / texel)), texel, 71 + number)
        patches.append(shapes.turned((x, y, 0.1), base, foot, 0.012))
        plinth = (0.82, 0.82, 0.12)
        patches += shapes.box(
            (x, y, 0.06), plinth, textures.rock(shapes.box_texels(plinth, 0.005), 0.005, 81 + number), 0.02
        )
        if top < 3:
            break_stone = textures.rock((220, 220), texel, 86 + number, rough=0.02)
            patches.append(shapes.disc((x, y, 0.08 + top), 0.285, break_stone, 0.012))
        else:
            capital = textures.rock((int(1.0 / texel), int(2.6 / texel)), texel, 91, SANDSTONE)
            patches.append(shapes.turned((x, y, 0.1), crown, capital, 0.012))
    fallen = textures.rock((int(1.6 / texel), int(1.95 / texel)), texel, 95, drums, 0.004)
    lying = shapes.rotation(yaw=28, pitch=90)
    place = np.array((1.55, 3.1, 0.29))
    patches.append(
        shapes.turned(place, [(0.29, 0.85), (0.3, 0.83), (0.3, 0.02), (0.29, 0.0)], fallen, 0.012, _fluted, lying)
    )
    for end, turn in ((0.845, lying), (0.005, lying @ np.diag([1.0, -1.0, -1.0]))):
        stone = textures.rock((220, 220), texel, 96 + int(end), LIMESTONE, 0.012)
        patches.append(shapes.disc(place + lying @ [0, 0, end], 0.285, stone, 0.012, turn))
    return patches


def _things() -> list[Patch]:
    patches = list(bust((ARCH[0], 5.55, 0.51 + 0.92), 1.75))
    pedestal = (0.52, 0.46, 0.92)
    words = [("AMARE", 0.075, 0.2, 0.105), ("ET SAPERE", 0.065, 0.34, 0.078), ("MDCCXLIV", 0.1, 0.47, 0.06)]
    stone = artwork.inscription(shapes.box_texels(pedestal, 0.0025), 0.0025, 101, words)
    patches += shapes.box((ARCH[0], 5.55, 0.51 + 0.46), pedestal, stone, 0.012, radius=0.012)
    crates = (
        (
            (-2.75, 3.2, 0.33),
            (0.8, 0.66, 0.66),
            24,
            [("CARGO 58", 0.08, 0.13, 0.13), ("OLIVES", 0.12, 0.36, 0.12)],
            111,
        ),
        (
            (-2.62, 3.28, 0.66 + 0.21),
            (0.58, 0.48, 0.42),
            -9,
            [("FRAGILE", 0.06, 0.07, 0.105), ("2 of 7", 0.06, 0.23, 0.09)],
            112,
        ),
        ((3.05, 2.35, 0.27), (0.7, 0.6, 0.54), -31, [("PORT OF", 0.07, 0.08, 0.12), ("ARCONA", 0.07, 0.27, 0.13)], 113),
    )
    for centre, size, yaw, lines, seed in crates:
        planks = artwork.stencilled(shapes.box_texels(size, 0.003), 0.003, seed, lines)
        patches += shapes.box(centre, size, planks, 0.02, shapes.rotation(yaw), 0.008)
    blocks = (
        (
            (1.55, 4.55, 0.26),
            (0.75, 0.5, 0.55),
            (-14, 0, 4),
            [("HIC FONS", 0.06, 0.12, 0.125), ("ERAT", 0.2, 0.3, 0.13)],
            121,
        ),
        ((-3.9, 2.6, 0.2), (0.6, 0.5, 0.42), (38, 5, 0), [("LEGIO", 0.08, 0.13, 0.13)], 122),
        ((4.3, 4.7, 0.33), (0.55, 0.6, 0.7), (-40, 0, -6), [("SOL", 0.1, 0.2, 0.16)], 123),
    )
    for centre, size, angles, lines, seed in blocks:
        stone = artwork.inscription(shapes.box_texels(size, 0.003), 0.003, seed, lines)
        patches += shapes.box(centre, size, stone, 0.015, shapes.rotation(*angles), 0.03)
    for spot, scale, seed in (
        ((-1.55, 3.75, 0.0), 1.15, 131),
        ((-2.0, 4.2, 0.0), 0.85, 132),
        ((3.15, 3.5, 0.0), 1.0, 133),
    ):
        clay = artwork.pottery((int(1.2 * scale / 0.0025), int(1.5 * scale / 0.0025)), 0.0025, seed)
        patches.append(shapes.turned(spot, [(r * scale, h * scale) for r, h in JAR], clay, 0.008))
    return patches


def _stones() -> list[Patch]:
    rng = np.random.default_rng(141)
    small = np.column_stack([rng.uniform(-4.6, 5.2, 110), rng.uniform(-0.6, 5.6, 110), np.zeros(110)])
    size = rng.uniform(0.03, 0.1, 110)
    free = ~((np.abs(small[:, 0] - ARCH[0]) < 1.9) & (small[:, 1] > 4.2))
    big = np.array(
        [
            (0.75, 1.7, 0.02),
            (-1.0, 1.9, 0.0),
            (2.2, 1.25, 0.0),
            (-4.1, 4.2, 0.05),
            (4.7, 1.7, 0.05),
            (2.0, 5.6, 0.1),
            (-2.3, 1.2, 0.0),
            (3.7, 5.5, 0.15),
        ]
    )
    large = np.array([0.27, 0.22, 0.19, 0.34, 0.38, 0.33, 0.16, 0.4])
    stone = textures.rock((1400, 1400), 0.0035, 142, replace(LIMESTONE, lichen=1.4), 0.008)
    slate = textures.rock((1400, 1400), 0.0025, 143, SLATE, 0.004)
    return [*shapes.pebbles(big, large, stone, 144), *shapes.pebbles(small[free], size[free], slate, 145)]


def _trees() -> list[Patch]:
    patches = []
    spots = (
        (-7.5, 11.0, 6.2, 0.9),
        (-3.4, 13.5, 7.0, 1.0),
        (2.6, 12.0, 5.6, 0.85),
        (5.6, 10.0, 4.6, 0.8),
        (8.8, 8.2, 5.4, 0.9),
        (-9.5, 5.0, 5.0, 0.9),
        (10.5, 3.0, 5.5, 1.0),
    )
    for number, (x, y, tall, wide) in enumerate(spots):
        leaf = textures.leaves((int(tall * 1.15 / 0.016), int(2 * np.pi * wide / 0.016)), 0.016, 151 + number, 0.16)
        share = np.linspace(0, 1, 12)
        outline = [(wide * np.sin(np.pi * min(s * 0.62 + 0.02, 1)) ** 0.8, tall * (1 - 0.95 * s)) for s in share]
        patches.append(shapes.turned((x, y, -0.05), outline, leaf, 0.06))
    rng = np.random.default_rng(161)
    forest = textures.leaves((220, 1500), 0.09, 162, 0.5)
    east = np.linspace(-62, 62, 500)
    crest = 7 + 3.2 * textures.fbm((1, 500), 150, rng, 6)[0]
    bow = 62 - 0.006 * east**2
    hill = np.stack([np.column_stack([east, bow + 14, crest]), np.column_stack([east, bow, np.full(500, -0.5)])])
    patches.append(shapes.loft(cv2.blur(hill, (5, 1)), forest, 0.6))
    return patches
