"""Pictures within the pictures: frescoes, lettering, book covers, painted pottery. sRGB float32 (H, W, 3) in [0, 1]."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import cKDTree

from sample_data.raytrace import Material
from sample_data.textures import BRICK, LIMESTONE, Colour, fbm, grain, masonry, mix, rock, step, weather, wood

# fmt: off
WORDS = [
    "stone", "river", "lantern", "copper", "orchard", "winter", "signal", "harbour", "thistle", "meadow",
    "anchor", "velvet", "ember", "hollow", "granite", "falcon", "cinder", "willow", "marble", "saffron",
    "tunnel", "beacon", "juniper", "cobalt", "drift", "quarry", "raven", "sparrow", "timber", "violet", "amber",
    "basalt", "clover", "dune", "fathom", "glacier", "heron", "iris", "kestrel", "lichen", "moss", "needle",
    "opal", "pepper", "quartz", "reed", "sable", "tide", "umber",
]
# fmt: on


def lettering(shape: tuple[int, int], lines: list[tuple[str, int, int, int]]) -> np.ndarray:
    """Coverage (H, W) in [0, 1] of text lines (text, x, y of the top-left corner, size in texels)."""
    page = Image.new("L", (shape[1], shape[0]))
    pen = ImageDraw.Draw(page)
    for text, x, y, size in lines:
        pen.text((x, y), text, fill=255, font=ImageFont.load_default(size))
    return np.asarray(page, np.float32) / 255


def paragraph(rng: np.random.Generator, left: int, top: int, lines: int, size: int, words: int = 6) -> list:
    """Lines of small print that say nothing, for ``lettering``."""
    pick = [" ".join(rng.choice(WORDS, words)).capitalize() for _ in range(lines)]
    return [(text, left, top + round(1.3 * size * row), size) for row, text in enumerate(pick)]


def painted(plan: np.ndarray, rng: np.random.Generator, sizes: tuple[int, ...], density: float = 1.6) -> np.ndarray:
    """``plan`` (H, W, 3) painted over with brush strokes, the broad ones first."""
    height, width = plan.shape[:2]
    canvas = np.ascontiguousarray(plan, np.float32).copy()
    flow = fbm((height, width), max(width // 4, 8), rng, 3)
    for size in sizes:
        count = int(density * height * width / (3.2 * size * size))
        x, y = rng.integers(width, size=count), rng.integers(height, size=count)
        colour = plan[y, x] * rng.normal(1, 0.085, (count, 1)) + rng.normal(0, 0.022, (count, 3))
        angle = np.rad2deg(flow[y, x]) * 0.9 + rng.normal(0, 18, count)
        for k in range(count):
            axes = (max(int(size * 1.5), 1), max(int(size * 0.42), 1))
            cv2.ellipse(canvas, (int(x[k]), int(y[k])), axes, float(angle[k]), 0, 360, colour[k].tolist(), -1)
    return np.clip(canvas, 0, 1)


def landscape(shape: tuple[int, int], rng: np.random.Generator, ridges: int = 6, sun: float = 0.3) -> np.ndarray:
    """A painted valley: sky, sun, ridges behind one another, trees, a river."""
    height, width = shape
    x, y = np.arange(width, dtype=np.float32)[None, :] / width, np.arange(height, dtype=np.float32)[:, None] / height
    plan = mix(np.full((*shape, 3), (0.93, 0.80, 0.58), np.float32), (0.42, 0.60, 0.74), step(y + 0 * x, 0.42, 0))
    plan = mix(
        plan, (0.97, 0.93, 0.85), 0.8 * step(fbm(shape, width / 4, rng, 5, 0.6, tall=0.4), 0.5, 1.3) * (y < 0.45)
    )
    plan = mix(
        plan, (0.96, 0.55, 0.25), step(np.hypot((x - sun) * width, (y - 0.2) * height), 0.075 * width, 0.065 * width)
    )
    for ridge in range(ridges):
        depth = ridge / (ridges - 1)
        level = 0.3 + 0.48 * depth + 0.09 * (1 - 0.5 * depth) * fbm((1, width), width / 3, rng, 6, 0.5)
        tint = (
            np.array((0.50, 0.58, 0.66)) * (1 - depth) + np.array((0.36, 0.42, 0.20)) * depth + rng.normal(0, 0.05, 3)
        )
        plan = mix(plan, tuple(tint), step(y - level, 0, 0.006))
    river = np.abs(x - 0.55 - 0.16 * np.sin(9 * y) * (1 - y)) < 0.015 + 0.16 * np.maximum(y - 0.62, 0)
    plan = mix(plan, (0.62, 0.74, 0.78), (river & (y > 0.66)).astype(np.float32))
    for _ in range(46):
        root, foot = rng.uniform(0, width), rng.uniform(0.6, 0.97)
        tall = height * (foot - 0.5) * rng.uniform(0.28, 0.5)
        green = (np.array((0.20, 0.30, 0.14)) * rng.uniform(0.7, 1.7) + rng.normal(0, 0.02, 3)).tolist()
        axes = (max(int(tall * rng.uniform(0.1, 0.3)), 1), max(int(tall / 2), 1))
        cv2.ellipse(plan, (int(root), int(foot * height - tall / 2)), axes, 0, 0, 360, green, -1, cv2.LINE_AA)
    return painted(plan, rng, (max(width // 45, 5), max(width // 100, 3), max(width // 190, 2)))


def fresco(shape: tuple[int, int], texel: float, seed: int) -> Material:
    """A painted wall, a landscape in a border of panels, flaked and cracked."""
    rng = np.random.default_rng(seed)
    colour = landscape(shape, rng, sun=0.72)
    band = max(int(0.09 / texel), 4)
    frame = np.zeros(shape, np.float32)
    cv2.rectangle(frame, (band, band), (shape[1] - band, shape[0] - band), 1.0, band // 2)
    colour = mix(colour, (0.55, 0.19, 0.13), frame)
    for _ in range(160):
        edge, along = rng.integers(4), rng.uniform()
        spot = ((along * shape[1], band), (along * shape[1], shape[0] - band), (band, along * shape[0]))
        x, y = (*spot, (shape[1] - band, along * shape[0]))[edge]
        tint = [(0.9, 0.76, 0.42), (0.16, 0.25, 0.33), (0.86, 0.83, 0.74)][rng.integers(3)]
        axes = (int(band * rng.uniform(0.08, 0.24)), int(band * rng.uniform(0.05, 0.2)))
        cv2.ellipse(colour, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, tint, -1, cv2.LINE_AA)
    return plastered(colour, texel, rng, (0.66, 0.61, 0.52), 1.25)


def plastered(colour: np.ndarray, texel: float, rng: np.random.Generator, bare: Colour, share: float) -> Material:
    """Paint on old plaster: faded, cracked, flaked off where noise exceeds ``share`` deviations."""
    shape = colour.shape[:2]
    flaw = fbm(shape, 0.3 / texel, rng, 7, 0.62)
    crack = step(np.abs(fbm(shape, 0.55 / texel, rng, 7, 0.6)), 0.028, 0.0)
    speck = grain(shape, rng)
    gone = step(flaw, share, share + 0.06)
    rubble = np.array(bare, np.float32) * (1 + 0.12 * fbm(shape, 0.06 / texel, rng, 5, 0.8))[..., None]
    aged = mix(colour, (0.74, 0.69, 0.60), 0.22 + 0.1 * np.tanh(fbm(shape, 0.6 / texel, rng)))
    aged = mix(aged * (1 + 0.06 * speck)[..., None], rubble, gone) * (1 - 0.55 * crack)[..., None]
    height = -0.008 * gone - 0.003 * crack + 0.0012 * flaw + 0.0005 * speck
    return Material(np.clip(aged, 0.02, 1), height.astype(np.float32), texel)


def mural_wall(shape: tuple[int, int], texel: float, seed: int) -> Material:
    """Brickwork under plaster that has partly come off, with a painted frieze and an advertisement."""
    rng = np.random.default_rng(seed)
    bricks = masonry(
        shape, texel, seed + 1, replace(BRICK, lichen=0.4, bulge=0.006), (0.072, 0.078), (0.2, 0.26), 0.012
    )
    paint = np.full((*shape, 3), (0.80, 0.70, 0.52), np.float32) * (1 + 0.05 * fbm(shape, 0.5 / texel, rng))[..., None]
    meter = 1 / texel
    top, left = int(0.75 * meter), int(0.5 * meter)
    wide, high = min(int(2.7 * meter), shape[1] - left), min(int(1.25 * meter), shape[0] - top)
    paint[top : top + high, left : left + wide] = landscape((high, wide), rng, 5, 0.2)
    words = [
        ("ATELIER", 0.55, 0.22, 0.42),
        ("NOVAK & SONS", 2.35, 0.3, 0.26),
        ("COLOURS  OILS  BRUSHES  1911", 0.55, 2.1, 0.17),
    ]
    ink = lettering(shape, [(t, int(x * meter), int(y * meter), int(s * meter)) for t, x, y, s in words])
    paint = mix(paint, (0.20, 0.24, 0.32), 0.85 * ink)
    plaster = plastered(paint, texel, rng, (0.7, 0.65, 0.55), 1.7)
    colour, flaw = srgb_colour(plaster), fbm(shape, 0.7 / texel, rng, 7, 0.6)
    low = np.linspace(-0.5, 1.1, shape[0], dtype=np.float32)[:, None] ** 3
    bare = step(flaw + low, 0.62, 0.68)
    rim = step(flaw + low, 0.5, 0.62) * (1 - bare)
    colour = mix(colour * (1 - 0.15 * rim)[..., None], srgb_colour(bricks), bare)
    colour = weather(colour, texel, rng, replace(LIMESTONE, lichen=0.25, streaks=1.3))
    height = (1 - bare) * (0.022 + plaster.height) + bare * 0.6 * bricks.height
    return Material(colour, height, texel)


def srgb_colour(material: Material) -> np.ndarray:
    """The sRGB colour (H, W, 3) that a material was made of."""
    return np.power(material.colour, 1 / 2.2)


def inscription(
    shape: tuple[int, int], texel: float, seed: int, lines: list[tuple[str, float, float, float]], rough: float = 0.004
) -> Material:
    """Stone with letters cut into it: (text, x, y, size) in metres."""
    block = rock(shape, texel, seed, replace(LIMESTONE, lichen=0.6), rough=rough)
    cut = lettering(shape, [(t, int(x / texel), int(y / texel), int(s / texel)) for t, x, y, s in lines])
    soft = cv2.GaussianBlur(cut, (0, 0), 1.2)
    colour = mix(srgb_colour(block), (0.33, 0.27, 0.21), 0.72 * cut)
    return Material(colour, block.height - 1.5 * rough * soft, texel)


def stencilled(
    shape: tuple[int, int], texel: float, seed: int, lines: list[tuple[str, float, float, float]]
) -> Material:
    """Planks with worn stencil letters."""
    planks = wood(shape, texel, seed)
    rng = np.random.default_rng(seed + 7)
    ink = lettering(shape, [(t, int(x / texel), int(y / texel), int(s / texel)) for t, x, y, s in lines])
    worn = 0.85 * ink * step(fbm(shape, 0.05 / texel, rng, 5, 0.8), 1.8, 1.0)
    return Material(mix(srgb_colour(planks), (0.12, 0.10, 0.09), worn), planks.height, texel)


def pottery(shape: tuple[int, int], texel: float, seed: int) -> Material:
    """Red clay with black bands, tongues, birds and leaves, no two alike, chipped."""
    rng = np.random.default_rng(seed)
    height, width = shape
    ink = np.zeros(shape, np.float32)
    bands = np.cumsum(rng.uniform(0.05, 0.13, 30)) * height
    for kind, (top, bottom) in enumerate(itertools.pairwise(bands)):
        if top >= height:
            break
        tall, middle = bottom - top, (top + bottom) / 2
        cv2.line(ink, (0, int(top)), (width, int(top)), 1.0, max(int(tall * 0.12), 1))
        if kind % 4 == 3:
            ink[int(top) : int(bottom)] = 1.0
            continue
        x = 0.0
        while x < width:
            wide = tall * rng.uniform(0.5, 1.3)
            _motif(ink, rng, (x + wide / 2, middle), wide * 0.42, tall * 0.36)
            x += wide
    speck, broad = grain(shape, rng), fbm(shape, 0.1 / texel, rng, 6, 0.7)
    worn = step(broad + 0.4 * speck, 1.5, 1.0)
    clay = np.array((0.70, 0.42, 0.26), np.float32) * (1 + 0.07 * broad + 0.07 * speck)[..., None]
    colour = mix(clay, (0.16, 0.12, 0.11), 0.9 * ink * worn)
    colour = mix(colour, (0.74, 0.66, 0.55), 0.6 * step(fbm(shape, 0.12 / texel, rng, 6, 0.75), 1.2, 1.9))
    return Material(np.clip(colour, 0.02, 1), (0.0006 * broad + 0.0004 * speck).astype(np.float32), texel)


def _motif(ink: np.ndarray, rng: np.random.Generator, centre: tuple[float, float], wide: float, tall: float) -> None:
    """One black figure: a blob with limbs and a light eye."""
    count = int(rng.integers(5, 10))
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = rng.uniform(0.35, 1.0, count)
    corners = np.stack([centre[0] + wide * reach * np.cos(angle), centre[1] + tall * reach * np.sin(angle)], axis=1)
    cv2.fillPoly(ink, [corners.round().astype(np.int32)], 1.0, cv2.LINE_AA)
    spot = (int(centre[0] + rng.normal(0, 0.15 * wide)), int(centre[1] + rng.normal(0, 0.15 * tall)))
    cv2.ellipse(ink, spot, (max(int(wide * 0.2), 1), max(int(tall * 0.14), 1)), rng.uniform(0, 180), 0, 360, 0.0, -1)


def cover_landscape(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A book cover: a painted valley under a title."""
    rng = np.random.default_rng(seed)
    height, width = shape
    page = np.full((*shape, 3), (0.93, 0.89, 0.79), np.float32)
    top, bottom, side = int(0.27 * height), int(0.86 * height), int(0.07 * width)
    page[top:bottom, side : width - side] = landscape((bottom - top, width - 2 * side), rng)
    cv2.rectangle(page, (side, top), (width - side, bottom), (0.25, 0.2, 0.16), 3)
    unit = width / 100
    text = [
        ("THE QUIET", 7, 6, 15),
        ("VALLEY", 7, 21, 15),
        ("letters from a walking year", 8, 119, 5.6),
        ("ILSE MARTEN", 62, 127.5, 5),
    ]
    ink = lettering(shape, [(t, int(x * unit), int(y * unit), int(s * unit)) for t, x, y, s in text])
    return _printed(mix(page, (0.36, 0.12, 0.10), ink), rng)


def cover_orbits(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A book cover: planets, orbits and constellations on a night sky."""
    rng = np.random.default_rng(seed)
    height, width = shape
    glow = fbm(shape, width / 3, rng, 5)
    page = np.array((0.07, 0.10, 0.22), np.float32) * (1 + 0.35 * glow)[..., None]
    page = mix(page, (0.35, 0.16, 0.36), 0.5 * step(fbm(shape, width / 4, rng, 6), 0.6, 2))
    middle = (int(0.58 * width), int(0.56 * height))
    for ring in range(9):
        axes = (int(width * (0.12 + 0.085 * ring)), int(width * (0.07 + 0.05 * ring)))
        tint = (0.55 + 0.3 * rng.uniform(), 0.6, 0.5 + 0.3 * rng.uniform())
        cv2.ellipse(page, middle, axes, -24 + 3 * ring, 0, int(rng.integers(200, 350)), tint, 2, cv2.LINE_AA)
        turn = np.deg2rad(rng.uniform(0, 360))
        tilt = np.deg2rad(-24 + 3 * ring)
        flat = np.array([axes[0] * np.cos(turn), axes[1] * np.sin(turn)])
        spot = flat @ np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]]) + middle
        size, tint = int(width * rng.uniform(0.012, 0.05)), rng.uniform(0.35, 0.95, 3).tolist()
        cv2.circle(page, tuple(spot.astype(int).tolist()), size, tint, -1, cv2.LINE_AA)
        shade = (spot + 0.3 * size).astype(int).tolist()
        cv2.circle(page, tuple(shade), max(size // 2, 1), (0.6 * np.array(tint)).tolist(), -1, cv2.LINE_AA)
    cv2.circle(page, middle, int(0.07 * width), (0.98, 0.78, 0.32), -1, cv2.LINE_AA)
    stars = np.stack([rng.integers(width, size=170), rng.integers(height, size=170)], axis=1)
    for x, y in stars.tolist():
        cv2.circle(page, (x, y), int(rng.integers(1, 4)), (0.95, 0.94, rng.uniform(0.6, 1)), -1, cv2.LINE_AA)
    for chain in range(14):
        near = stars[np.argsort(np.linalg.norm(stars - stars[chain], axis=1))[: int(rng.integers(3, 6))]]
        cv2.polylines(page, [near.astype(np.int32)], False, (0.7, 0.75, 0.85), 1, cv2.LINE_AA)
    unit = width / 100
    text = [
        ("ORBITS", 8, 6, 25),
        ("a field guide to the moving sky", 9, 34, 5.5),
        ("P. OKAFOR", 9, 122, 7),
        ("third edition", 66, 130, 5),
    ]
    ink = lettering(shape, [(t, int(x * unit), int(y * unit), int(s * unit)) for t, x, y, s in text])
    return _printed(mix(page, (0.97, 0.90, 0.72), ink), rng)


def cover_tea(shape: tuple[int, int], seed: int) -> np.ndarray:
    """A tea box: a mosaic of glass pieces round a flower, a label, small print and a bar code."""
    rng = np.random.default_rng(seed)
    height, width = shape
    seeds = rng.uniform(0, 1, (420, 2)) * [width, height]
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2)
    distance, index = cKDTree(seeds).query(grid, k=2, workers=-1)
    palette = np.array(
        [(0.80, 0.28, 0.18), (0.90, 0.66, 0.22), (0.16, 0.45, 0.42), (0.20, 0.31, 0.50), (0.85, 0.80, 0.66)]
    )
    middle = np.array([0.5 * width, 0.36 * height])
    away = np.linalg.norm(seeds - middle, axis=1) / width
    petal = np.cos(7 * np.arctan2(*(seeds - middle).T)) * 0.1 + 0.3
    kind = np.where(away < 0.11, 1, np.where(away < petal, 0, rng.integers(2, 5, len(seeds))))
    tone = palette[kind] * rng.normal(1, 0.16, (len(seeds), 1))
    page = tone[index[:, 0]].reshape(*shape, 3).astype(np.float32)
    lead = step((distance[:, 1] - distance[:, 0]).reshape(shape), 5, 2.5)
    page = mix(page, (0.13, 0.11, 0.10), lead)
    unit = width / 100
    cv2.rectangle(page, (int(6 * unit), int(88 * unit)), (int(94 * unit), int(128 * unit)), (0.95, 0.92, 0.82), -1)
    cv2.rectangle(page, (int(8 * unit), int(90 * unit)), (int(92 * unit), int(126 * unit)), (0.55, 0.2, 0.15), 2)
    text = [("MOSAIC TEA", 11, 91, 12.5), ("No. 7  smoked orange & thyme", 12, 106, 5)]
    lines = [(t, int(x * unit), int(y * unit), int(s * unit)) for t, x, y, s in text]
    lines += paragraph(rng, int(12 * unit), int(113 * unit), 3, int(2.9 * unit), 5)
    page = mix(page, (0.16, 0.13, 0.12), lettering(shape, lines))
    x = 72 * unit
    while x < 89 * unit:
        wide = rng.integers(1, 5)
        cv2.rectangle(page, (int(x), int(113 * unit)), (int(x + wide - 1), int(123 * unit)), (0.1, 0.1, 0.1), -1)
        x += wide + rng.integers(2, 6)
    return _printed(page, rng)


def cover_shapes(shape: tuple[int, int], seed: int, title: str) -> np.ndarray:
    """A plainer cover: overlapping cut paper under a title, for the things nobody asks for."""
    rng = np.random.default_rng(seed)
    height, width = shape
    page = np.full((*shape, 3), rng.uniform(0.55, 0.9, 3), np.float32)
    for _ in range(60):
        centre, reach = rng.uniform(0, 1, 2) * [width, height], width * rng.uniform(0.04, 0.22)
        angle = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        corners = centre + reach * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        cv2.fillPoly(page, [corners.round().astype(np.int32)], rng.uniform(0.1, 0.9, 3).tolist(), cv2.LINE_AA)
    cv2.rectangle(page, (0, int(0.68 * height)), (width, int(0.9 * height)), (0.94, 0.92, 0.86), -1)
    lines = [(title, int(0.06 * width), int(0.69 * height), int(0.13 * width))]
    lines += paragraph(rng, int(0.06 * width), int(0.81 * height), 3, int(0.045 * width), 4)
    return _printed(mix(page, (0.12, 0.12, 0.16), lettering(shape, lines)), rng)


def wrapped(cover: np.ndarray, shape: tuple[int, int], texel: float, seed: int) -> Material:
    """A box or a book: ``cover`` on the front, its tone and small print on the other sides (see ``shapes.box``)."""
    rng = np.random.default_rng(seed)
    tone = cover.reshape(-1, 3).mean(0) * 0.9
    colour = (
        np.broadcast_to(tone, (*shape, 3))
        * (1 + 0.06 * fbm(shape, 0.03 / texel, rng, 4) + 0.05 * grain(shape, rng))[..., None]
    )
    size = max(round(0.006 / texel), 6)
    lines = paragraph(rng, cover.shape[1] + size, size, int(0.7 * cover.shape[0] / size), size, 30)
    lines += paragraph(rng, size, cover.shape[0] + size // 2, int(0.7 * (shape[0] - cover.shape[0]) / size), size, 30)
    colour = mix(colour, (0.9, 0.87, 0.78), lettering(shape, lines))
    colour[: cover.shape[0], : cover.shape[1]] = cover
    return Material(np.clip(colour, 0.02, 1).astype(np.float32), np.zeros(shape, np.float32), texel)


def _printed(page: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paper grain and worn edges."""
    shape = page.shape[:2]
    x, y = np.arange(shape[1])[None, :], np.arange(shape[0])[:, None]
    border = np.minimum(np.minimum(x, shape[1] - 1 - x), np.minimum(y, shape[0] - 1 - y))
    worn = step(border + 4 * fbm(shape, 20, rng, 4), 5, 0)
    paper = 1 + 0.02 * fbm(shape, 40, rng, 6) + 0.02 * grain(shape, rng)
    return np.clip(mix(page, (0.88, 0.85, 0.78), 0.6 * worn) * paper[..., None], 0.02, 0.98).astype(np.float32)
