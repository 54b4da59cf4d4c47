"""Materials grown from seeded noise: stone, paving, brick, plaster, wood, earth, leaves, marble.

Every function returns a ``Material`` whose colour never repeats, so that a descriptor finds one right place only.
Lengths are in metres, ``shape`` is (rows, columns) of texels, colours are sRGB in [0, 1].
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from sample_data.raytrace import Material

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How stones and their joints look."""

    stones: tuple[Colour, ...]
    joint: Colour
    contrast: float = 0.055
    rough: float = 0.004
    bulge: float = 0.02
    lichen: float = 1.0
    streaks: float = 1.0


LIMESTONE = Look(((0.72, 0.65, 0.53), (0.66, 0.60, 0.50), (0.76, 0.70, 0.60), (0.60, 0.55, 0.47)), (0.50, 0.45, 0.38))
SANDSTONE = Look(((0.70, 0.55, 0.40), (0.64, 0.50, 0.38), (0.74, 0.62, 0.47)), (0.44, 0.37, 0.30))
SLATE = Look(((0.50, 0.48, 0.45), (0.55, 0.52, 0.47), (0.61, 0.56, 0.48), (0.45, 0.44, 0.42)), (0.38, 0.34, 0.26))
BRICK = Look(((0.58, 0.33, 0.25), (0.64, 0.39, 0.28), (0.50, 0.29, 0.23), (0.68, 0.47, 0.35)), (0.62, 0.58, 0.52))


def fbm(
    shape: tuple[int, int], cell: float, rng: np.random.Generator, octaves: int = 7, gain: float = 0.6, tall: float = 1
) -> np.ndarray:
    """Fractal noise, float32, zero mean and unit deviation; ``cell`` texels wide at first, ``tall`` times as high."""
    total = np.zeros(shape, np.float32)
    power = 0.0
    for octave in range(octaves):
        wide, high = max(round(cell / 2**octave), 1), max(round(cell * tall / 2**octave), 1)
        grid: np.ndarray = rng.standard_normal((shape[0] // high + 4, shape[1] // wide + 4), dtype=np.float32)
        if wide > 1 or high > 1:
            grid = cv2.resize(grid, (grid.shape[1] * wide, grid.shape[0] * high), interpolation=cv2.INTER_CUBIC)
        top, left = high + rng.integers(high), wide + rng.integers(wide)
        total += gain**octave * grid[top : top + shape[0], left : left + shape[1]]
        power += gain ** (2 * octave) * (1.0 if wide == 1 and high == 1 else 0.55)
        if wide == 1 and high == 1:
            break
    return total / np.float32(np.sqrt(power))


def step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between (low may exceed high)."""
    share = np.clip((value - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def mix(under: np.ndarray, over: np.ndarray | Colour, share: np.ndarray) -> np.ndarray:
    """``over`` laid on ``under`` (H, W, 3) where ``share`` (H, W) is 1."""
    return under + share[..., None] * (np.asarray(over, np.float32) - under)


def grain(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Pits and specks of a few texels, (H, W) float32 in about [-1, 1]: what a detector fires on."""
    fine = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 1.1) * 3.9
    spots = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), 2.6) * 9.2
    return 0.35 * fine + 0.6 * np.sign(spots) * step(np.abs(spots), 1.5, 2.3)


def masonry(
    shape: tuple[int, int],
    texel: float,
    seed: int,
    look: Look = LIMESTONE,
    course: tuple[float, float] = (0.17, 0.4),
    stone: tuple[float, float] = (0.22, 0.75),
    joint: float = 0.03,
) -> Material:
    """A wall of squared stones in courses of uneven height."""
    rng = np.random.default_rng(seed)
    sway = min(0.011, 0.035 * course[0])
    warp = [sway * fbm(shape, 0.35 / texel, rng, 4) for _ in range(2)]
    x = np.arange(shape[1], dtype=np.float32) * texel + warp[0]
    y = np.arange(shape[0], dtype=np.float32)[:, None] * texel + warp[1]
    label = np.zeros(shape, np.int32)
    edge = np.zeros(shape, np.float32)
    beds = _cuts(shape[0] * texel, course, rng)
    count = 0
    for top, bottom in itertools.pairwise(beds):
        band = slice(max(int(top / texel) - 16, 0), int(bottom / texel) + 16)
        cuts = _cuts(shape[1] * texel, stone, rng)
        column = np.clip(np.searchsorted(cuts, x[band]) - 1, 0, len(cuts) - 2)
        across = np.minimum(x[band] - cuts[column], cuts[column + 1] - x[band])
        along = np.minimum(y[band] - top, bottom - y[band])
        inside = (y[band] >= top) & (y[band] < bottom)
        curve = min(0.05, 0.22 * course[0])
        corner = curve - np.hypot(np.maximum(curve - across, 0), np.maximum(curve - along, 0))
        label[band] = np.where(inside, count + column, label[band])
        edge[band] = np.where(inside, np.minimum(np.minimum(across, along), corner), edge[band])
        count += len(cuts)
    return _stonework(label, count, edge, texel, rng, look, joint)


def paving(shape: tuple[int, int], texel: float, seed: int, look: Look = SLATE, size: float = 0.6) -> Material:
    """Irregular flagstones with earth between them."""
    rng = np.random.default_rng(seed)
    coarse = 4
    small = (shape[0] // coarse + 2, shape[1] // coarse + 2)
    pitch = size / (texel * coarse)
    rows, columns = np.mgrid[-1 : small[0] / pitch + 1, -1 : small[1] / pitch + 1]
    seeds = np.stack([columns.ravel(), rows.ravel()], axis=1) + rng.uniform(-0.42, 0.42, (rows.size, 2))
    warp = [0.05 / size * fbm(small, 0.8 * pitch, rng, 4) for _ in range(2)]
    where = np.stack([np.arange(small[1]) / pitch + warp[0], np.arange(small[0])[:, None] / pitch + warp[1]], axis=-1)
    distance, index = cKDTree(seeds).query(where.reshape(-1, 2), k=2, workers=-1)
    between = np.linalg.norm(seeds[index[:, 0]] - seeds[index[:, 1]], axis=1)
    edge = ((distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * between) * size).reshape(small).astype(np.float32)
    full = (small[1] * coarse, small[0] * coarse)
    edge = cv2.resize(edge, full, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
    label = index[:, 0].reshape(small).astype(np.int32)
    label = cv2.resize(label, full, interpolation=cv2.INTER_NEAREST)[: shape[0], : shape[1]]
    edge = edge + 0.005 * fbm(shape, 0.08 / texel, rng, 4)
    return _stonework(label, len(seeds), edge, texel, rng, look, joint=0.035)


def _stonework(
    label: np.ndarray, count: int, edge: np.ndarray, texel: float, rng: np.random.Generator, look: Look, joint: float
) -> Material:
    """Colour and relief from which stone each texel belongs to and how far it is from the stone's edge (m)."""
    shape = label.shape
    palette = np.array(look.stones, np.float32)
    tone = palette[rng.integers(len(palette), size=count)] * rng.normal(1, 0.075, (count, 1)).astype(np.float32)
    tone += rng.normal(0, 0.005, (count, 3)).astype(np.float32)
    swell = rng.uniform(0.3, 1.2, count).astype(np.float32)
    body = step(edge, joint * 0.3, joint * 0.75)
    broad, middle, speck = fbm(shape, 0.5 / texel, rng), fbm(shape, 0.1 / texel, rng, 6, 0.75), grain(shape, rng)
    colour = tone[label] * (1 + look.contrast * (broad + 1.4 * middle)[..., None])
    colour = colour + np.multiply.outer(0.012 * broad, np.array([1, 0.2, -1], np.float32))
    mortar = np.array(look.joint, np.float32) * (1 + 0.09 * (middle + speck))[..., None]
    colour = mix(colour, mortar, 1 - body)
    colour *= (1 + 0.09 * speck - 0.16 * step(edge, joint * 0.8, 0) * body)[..., None]
    colour = weather(colour, texel, rng, look)
    rounded = step(edge, 0, 0.07)
    height = body * (0.012 + look.bulge * swell[label] * rounded) + look.rough * (0.6 * broad + 0.8 * middle * body)
    return Material(np.clip(colour, 0.02, 1), (height + 0.0012 * speck).astype(np.float32), texel)


def weather(colour: np.ndarray, texel: float, rng: np.random.Generator, look: Look) -> np.ndarray:
    """Lichen of three colours, and dark streaks that run down."""
    shape = colour.shape[:2]
    for paint, share in (((0.70, 0.60, 0.30), 1.75), ((0.78, 0.78, 0.74), 1.7), ((0.22, 0.21, 0.19), 1.5)):
        patch = fbm(shape, 0.22 / texel, rng, 6, 0.78)
        colour = mix(colour, paint, 0.62 * look.lichen * step(patch, share, share + 0.35))
    run = fbm(shape, 0.12 / texel, rng, 5, 0.6, tall=9)
    return colour * (1 - 0.2 * look.streaks * step(run, 0.5, 2.2))[..., None]


def rock(shape: tuple[int, int], texel: float, seed: int, look: Look = LIMESTONE, rough: float = 0.006) -> Material:
    """One piece of stone, unjointed."""
    rng = np.random.default_rng(seed)
    broad, middle, speck = fbm(shape, 0.35 / texel, rng), fbm(shape, 0.07 / texel, rng, 6, 0.75), grain(shape, rng)
    veins = step(np.abs(fbm(shape, 0.4 / texel, rng, 6)), 0.07, 0.0)
    colour = np.array(look.stones[0], np.float32) * (1 + 0.07 * broad + 0.09 * middle + 0.1 * speck)[..., None]
    colour = mix(colour, look.joint, 0.5 * veins)
    colour = weather(colour, texel, rng, look)
    return Material(np.clip(colour, 0.02, 1), rough * (broad + 0.5 * middle + 0.2 * speck - 0.5 * veins), texel)


def marble(shape: tuple[int, int], texel: float, seed: int) -> Material:
    """Old marble with dirt in its hollows."""
    rng = np.random.default_rng(seed)
    broad, middle, speck = fbm(shape, 0.2 / texel, rng), fbm(shape, 0.035 / texel, rng, 6, 0.8), grain(shape, rng)
    vein = step(np.abs(fbm(shape, 0.25 / texel, rng, 7, 0.62)), 0.1, 0.0)
    colour = np.array((0.74, 0.70, 0.63), np.float32) * (1 + 0.04 * broad + 0.05 * middle)[..., None]
    colour = mix(colour, (0.47, 0.42, 0.36), 0.75 * step(fbm(shape, 0.09 / texel, rng, 6, 0.75), 0.75, 1.9))
    colour = mix(colour, (0.42, 0.40, 0.38), 0.4 * vein) * (1 + 0.12 * speck)[..., None]
    return Material(np.clip(colour, 0.02, 1), 0.0007 * (broad + middle) + 0.0004 * speck, texel)


def earth(shape: tuple[int, int], texel: float, seed: int) -> Material:
    """Dry earth with tufts of grass, for what lies around."""
    rng = np.random.default_rng(seed)
    broad, middle = fbm(shape, 6 / texel, rng, 6, 0.7), fbm(shape, 0.5 / texel, rng, 6, 0.8)
    colour = np.array((0.60, 0.53, 0.40), np.float32) * (1 + 0.06 * broad + 0.1 * middle)[..., None]
    grass = step(fbm(shape, 1.5 / texel, rng, 6, 0.75) + 0.4 * broad, 0.1, 1.0)
    blades = np.array((0.40, 0.43, 0.22), np.float32) * (1 + 0.2 * fbm(shape, 3, rng, 2))[..., None]
    return Material(np.clip(mix(colour, blades, grass), 0.02, 1), 0.02 * (broad + 0.4 * middle * grass), texel)


def leaves(shape: tuple[int, int], texel: float, seed: int, depth: float = 0.1) -> Material:
    """Dense foliage: clumps of small leaves, dark between them."""
    rng = np.random.default_rng(seed)
    clumps, fine = fbm(shape, 0.5 / texel, rng, 4, 0.6), fbm(shape, 0.08 / texel, rng, 4, 0.8)
    height = clumps + 0.7 * fine
    colour = np.array((0.27, 0.33, 0.17), np.float32) * (1 + 0.35 * np.tanh(height))[..., None]
    colour = mix(colour, (0.52, 0.52, 0.27), 0.6 * step(fine + 0.3 * clumps, 1.0, 2.0))
    return Material(np.clip(colour, 0.02, 1), depth * 0.5 * height, texel)


def wood(shape: tuple[int, int], texel: float, seed: int, plank: float = 0.16) -> Material:
    """Weathered planks that run along the rows, with knots, nails and gaps."""
    rng = np.random.default_rng(seed)
    planks = max(round(shape[0] * texel / plank), 1)
    bounds = np.linspace(0, shape[0], planks + 1)
    row = np.arange(shape[0])
    index = np.clip(np.searchsorted(bounds, row, side="right") - 1, 0, planks - 1)
    gap = np.minimum(row - bounds[index], bounds[index + 1] - row) * texel
    tone = rng.normal(1, 0.13, planks).astype(np.float32)[index][:, None]
    fibre = fbm(shape, 0.35 / texel, rng, 7, 0.75, tall=0.04)
    broad, speck = fbm(shape, 0.3 / texel, rng, 6), grain(shape, rng)
    rings = np.sin(9 * fbm(shape, 0.5 / texel, rng, 3, 0.5, tall=0.2))
    colour = (
        np.array((0.66, 0.53, 0.38), np.float32) * (tone * (1 + 0.09 * fibre + 0.09 * broad + 0.04 * rings))[..., None]
    )
    colour = mix(colour, (0.50, 0.48, 0.45), 0.55 * step(broad, -0.3, 1.6))
    crack = step(fbm(shape, 0.5 / texel, rng, 6, 0.7, tall=0.03), 1.9, 2.3)
    colour *= (1 + 0.07 * speck - 0.5 * crack)[..., None]
    colour *= (0.35 + 0.65 * step(gap, 0.002, 0.007)).astype(np.float32)[:, None, None]
    height = -0.006 * step(gap, 0.008, 0.002)[:, None] + 0.0008 * (fibre + rings) - 0.002 * crack
    return Material(np.clip(colour, 0.02, 1), height.astype(np.float32), texel)


def _cuts(length: float, span: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Increasing positions from below 0 to beyond ``length``, ``span`` apart."""
    pieces = rng.uniform(*span, int(length / span[0]) + 4)
    cuts = np.cumsum(pieces) - pieces[0] - rng.uniform(0, pieces[1])
    return cuts[: int(np.searchsorted(cuts, length + 0.2)) + 2].astype(np.float32)
