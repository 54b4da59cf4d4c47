"""Rooms nobody has trained on: stereo pairs to choose a matching cost by, with exact disparities.

    python -m sample_data.rooms --data DIR --out DIR [--count 20] [--training --first 100]

Half of them are slanted sheets in front of each other; half are tables with boxes, turned bodies, rods, a bust and
stones before walls, some of them bare. They wear photos that no stereo training sees: every tenth of DIR/photos, every
third of DIR's validation scenes. With --training they wear the others, to train on: give them other numbers. A sun
throws shadows, and two cameras of slightly different exposure take it. Folders are as Middlebury 2014 has them, so that
``recon benchmark stereo`` and ``recon train swift-stereo --data pairs:DIR`` read them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from descriptors.datasets.scenes import scene_folders
from descriptors.datasets.sources import photos_below
from descriptors.datasets.stereo_pairs import read_photos
from sample_data import shapes, textures
from sample_data.bust import bust
from sample_data.courtyard import JAR, sky
from sample_data.raytrace import Camera, Material, Patch, Scene, develop, look_at, render, save_png
from sample_data.render import middlebury_calibration, stereo_truth, write_pfm
from sample_data.shots import Shot, pinhole
from sample_data.textures import SLATE

WIDTH, HEIGHT, FOCAL = 450, 375, 520.0
_TEXELS = (1.1, 2.4)
"""Fewest and most texels of a photo on a pixel."""
_IN_THE_DARK = "temple_ring"
"""A scene before a black cloth, on which no cost sees anything: which one is right there is chance."""
_LEAST = 24
"""Texels along a side."""
_BARE = 0.2
"""Share of the surfaces that wear no photo."""


@dataclass(frozen=True)
class Room:
    """A scene and the two cameras' distance (m)."""

    scene: Scene
    baseline: float


class Wardrobe:
    """Materials cut from photos.

    Args:
        photos: (H,W,3) uint8 RGB each.
        rng: picks them.
    """

    def __init__(self, photos: list[np.ndarray], rng: np.random.Generator) -> None:
        self._photos, self._rng = photos, rng

    def texel(self, depth: float) -> float:
        """Metres a texel, for a surface so many metres away."""
        return depth / FOCAL / float(self._rng.uniform(*_TEXELS))

    def material(self, shape: tuple[int, int], texel: float, bare: float = _BARE) -> Material:
        """A material of (rows, columns) texels."""
        shape = max(shape[0], _LEAST), max(shape[1], _LEAST)
        return Material(self._colour(shape, bare), np.zeros(shape, np.float32), texel)

    def _colour(self, shape: tuple[int, int], bare: float) -> np.ndarray:
        rng = self._rng
        if rng.random() < bare:
            tone = rng.uniform(0.35, 0.85, 3) * 0.3 + rng.uniform(0.35, 0.85) * 0.7
            mottled = textures.fbm(shape, 60, rng) * rng.uniform(0.004, 0.02)
            fine = textures.grain(shape, rng) * rng.uniform(0.0, 0.025)
            return np.clip(tone + (mottled + fine)[..., None], 0, 1).astype(np.float32)
        photo = self._photos[int(rng.integers(len(self._photos)))]
        high, wide = (min(want, had) for want, had in zip(shape, photo.shape, strict=False))
        top, left = rng.integers(photo.shape[0] - high + 1), rng.integers(photo.shape[1] - wide + 1)
        part: np.ndarray = photo[top : top + high, left : left + wide].astype(np.float32) / 255
        while part.shape[0] < shape[0] or part.shape[1] < shape[1]:
            more = [min(want - had, had - 1) for want, had in zip(shape, part.shape, strict=False)]
            part = cv2.copyMakeBorder(part, 0, max(more[0], 0), 0, max(more[1], 0), cv2.BORDER_REFLECT_101)
        return part * float(rng.uniform(0.75, 1.0))


def sheets(wardrobe: Wardrobe, rng: np.random.Generator) -> Room:
    """Slanted sheets, some of them cut out, in front of a wall; disparities up to about 25 px."""
    patches = [_slanted(wardrobe, rng, (0.0, rng.uniform(2.4, 3.2)), (4.6, 3.9), 8, cut=False)]
    for number in range(int(rng.integers(2, 6))):
        ahead = float(rng.uniform(1.1, 2.3))
        spot = float(rng.uniform(-0.4, 0.4)) * ahead, ahead
        size = (float(rng.uniform(0.25, 0.6)) * ahead, float(rng.uniform(0.25, 0.8)) * ahead)
        patches += [_slanted(wardrobe, rng, spot, size, 35, cut=number % 2 == 1)]
    return Room(Scene(patches, sky(), 0.1), float(rng.uniform(0.025, 0.05)))


def _slanted(
    wardrobe: Wardrobe, rng: np.random.Generator, spot: tuple[float, float], size: tuple[float, float],
    slant: float, *, cut: bool,
) -> Patch:  # fmt: skip
    """A sheet whose middle is ``spot`` (x, y) metres from the camera; ``cut``, an ellipse or a jagged piece of it."""
    texel = wardrobe.texel(spot[1])
    wide, high = size
    stuff = wardrobe.material((int(high / texel) + 2, int(wide / texel) + 2), texel, 0.1)
    turn = shapes.rotation(rng.uniform(-slant, slant), rng.uniform(-slant, slant), rng.uniform(-12, 12))
    right, down = turn @ np.array([wide, 0, 0]), turn @ np.array([0, 0, -high])
    middle = np.array([spot[0], spot[1], rng.uniform(-0.25, 0.25) * spot[1] if slant > 10 else 0.0])
    patch = shapes.sheet(middle - right / 2 - down / 2, right, down, stuff, 0.004)
    if not cut:
        return patch
    rows, columns = patch.points.shape[0] - 1, patch.points.shape[1] - 1
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    keep = x**2 + y**2 < 1
    if rng.random() < 0.6:
        rough = textures.fbm((rows, columns), max(rows / 5, 4), rng, 4)
        keep = rough > -0.4
    return replace(patch, keep=keep)


def table(wardrobe: Wardrobe, rng: np.random.Generator) -> Room:
    """Things on a table before a wall; disparities up to about 60 px."""
    back = float(rng.uniform(2.3, 3.0))
    texel = wardrobe.texel(back)
    wall = wardrobe.material((int(3.2 / texel), int(4.4 / texel)), texel, 0.35)
    turn = shapes.rotation(rng.uniform(-12, 12))
    patches = [shapes.sheet(turn @ [-2.2, 0, 2.0] + [0, back, 0], turn @ [4.4, 0, 0], [0, 0, -3.2], wall, 0.02)]
    level = -0.42
    texel = wardrobe.texel(1.5)
    board = (
        textures.wood((int(2.4 / texel), int(3.4 / texel)), texel, int(rng.integers(10**6)), 0.19)
        if rng.random() < 0.5
        else wardrobe.material((int(2.4 / texel), int(3.4 / texel)), texel)
    )
    patches.append(shapes.sheet((-1.7, 2.7, level), (3.4, 0, 0), (0, -2.4, 0), board, 0.02))
    for _ in range(int(rng.integers(5, 10))):
        ahead = float(rng.uniform(1.0, back - 0.4))
        spot = np.array([rng.uniform(-0.42, 0.42) * ahead, ahead, level])
        patches += _THINGS[int(rng.integers(len(_THINGS)))](wardrobe, rng, spot)
    if rng.random() < 0.5:
        stand = (float(rng.uniform(-0.4, 0.4)), float(rng.uniform(1.2, 1.8)), level)
        patches += bust(stand, float(rng.uniform(0.7, 1.1)), float(rng.uniform(-40, 40)), int(rng.integers(10**6)))
    count = int(rng.integers(0, 30))
    spots = np.column_stack([rng.uniform(-0.6, 0.6, count), rng.uniform(1.1, 2.0, count), np.full(count, level)])
    stone = textures.rock((600, 600), 0.001, int(rng.integers(10**6)), SLATE, 0.0012)
    patches += shapes.pebbles(spots, rng.uniform(0.01, 0.05, count), stone, int(rng.integers(10**6)))
    return Room(Scene(patches, sky(), 0.08), float(rng.uniform(0.07, 0.105)))


def _box(wardrobe: Wardrobe, rng: np.random.Generator, spot: np.ndarray) -> list[Patch]:
    size = rng.uniform((0.1, 0.04, 0.15), (0.5, 0.3, 0.7)).tolist()
    texel = wardrobe.texel(spot[1])
    stuff = wardrobe.material(shapes.box_texels(size, texel), texel)
    turn = shapes.rotation(rng.uniform(-45, 45), rng.uniform(-15, 5), rng.uniform(-8, 8))
    return shapes.box((*spot[:2], spot[2] + size[2] / 2), size, stuff, 0.02, turn, 0.004)


def _body(wardrobe: Wardrobe, rng: np.random.Generator, spot: np.ndarray, profile: np.ndarray) -> list[Patch]:
    texel = wardrobe.texel(spot[1])
    high, wide = profile[:, 1].max() + profile[:, 0].max() * 2, 2 * np.pi * profile[:, 0].max()
    stuff = wardrobe.material((int(1.3 * high / texel) + 2, int(wide / texel) + 2), texel)
    tilt = shapes.rotation(0, rng.uniform(-12, 12), rng.uniform(-12, 12))
    return [shapes.turned(spot, [tuple(row) for row in profile.tolist()], stuff, 0.006, tilt=tilt)]


def _cone(wardrobe: Wardrobe, rng: np.random.Generator, spot: np.ndarray) -> list[Patch]:
    foot, high = rng.uniform(0.08, 0.25), rng.uniform(0.25, 0.7)
    return _body(wardrobe, rng, spot, np.array([(0.0, high), (rng.uniform(0, foot), high), (foot, 0.0)]))


def _jar(wardrobe: Wardrobe, rng: np.random.Generator, spot: np.ndarray) -> list[Patch]:
    return _body(wardrobe, rng, spot, np.array(JAR) * rng.uniform(0.4, 0.9))


def _rods(wardrobe: Wardrobe, rng: np.random.Generator, spot: np.ndarray) -> list[Patch]:
    """Sticks from 1 to 5 px thick that stand about."""
    found: list[Patch] = []
    for _ in range(int(rng.integers(2, 6))):
        thick, high = rng.uniform(0.002, 0.012), rng.uniform(0.3, 1.0)
        place = spot + np.array([rng.uniform(-0.25, 0.25), rng.uniform(-0.1, 0.1), 0])
        found += _body(wardrobe, rng, place, np.array([(0.0, high), (thick, high), (thick, 0.0)]))
    return found


_THINGS = (_box, _box, _cone, _jar, _rods)


def cameras(room: Room, rng: np.random.Generator) -> tuple[Shot, Shot]:
    """The rectified pair."""
    first = look_at(np.zeros(3), np.array([rng.uniform(-0.06, 0.06), 1.0, rng.uniform(-0.12, 0.0)]))
    second = np.concatenate([first[:, :3], (first[:, 3] - [room.baseline, 0, 0])[:, None]], axis=1)
    lens = pinhole(WIDTH, HEIGHT, FOCAL)
    exposure = float(rng.uniform(0.9, 1.15))
    seeds = rng.integers(10**6, size=2).tolist()
    return (
        Shot("im0.png", Camera(lens, first, WIDTH, HEIGHT), exposure, seeds[0]),
        Shot("im1.png", Camera(lens, second, WIDTH, HEIGHT), exposure * float(rng.normal(1, 0.012)), seeds[1]),
    )


def worn(data: Path, *, training: bool = False) -> list[Path]:
    """The photos that rooms wear, from a folder with ``photos/`` and ``scenes/``."""
    single = photos_below(data / "photos")
    kept = [path for number, path in enumerate(single) if training == bool(number % 10)]
    found = {("photos", path.name): path for path in kept}
    for scene in scene_folders(data, validation=not training):
        if scene.name != _IN_THE_DARK:
            found |= {(scene.name, path.name): path for path in photos_below(scene / "images")[::3]}
    return [found[key] for key in sorted(found)]


def write_room(photos: list[np.ndarray], number: int, folder: Path) -> None:
    """Write pair ``number``; the same photos and number give the same pair."""
    rng = np.random.default_rng([2003, number])
    room = (sheets, table)[number % 2](Wardrobe(photos, rng), rng)
    left, right = cameras(room, rng)
    noise = float(rng.uniform(0.003, 0.009))
    folder.mkdir(parents=True, exist_ok=True)
    for shot in (left, right):
        save_png(folder / shot.name, develop(render(room.scene, shot.camera), shot.exposure, shot.seed, noise))
    disparity, mask = stereo_truth(room.scene, left, right, room.baseline)
    write_pfm(folder / "disp0.pfm", disparity)
    save_png(folder / "mask0nocc.png", mask)
    (folder / "calib.txt").write_text(middlebury_calibration(left, right, disparity, room.baseline), encoding="ascii")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--training", action="store_true")
    given = parser.parse_args()
    photos = read_photos(worn(given.data, training=given.training))
    for number in range(given.first, given.first + given.count):
        write_room(photos, number, given.out / f"room-{number:02d}")


if __name__ == "__main__":
    main()
