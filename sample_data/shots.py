"""Where every camera stands: the poses, lenses and exposures of all sets. Names are the files' names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sample_data.raytrace import Camera, look_at

DEPTH_STRIDE = 4
"""Depth maps hold every fourth pixel of every fourth row."""
DEPTH_UNIT = 0.0005
"""Metres per grey level of a depth map; 0 means no depth (sky, or beyond 32.7 m)."""


@dataclass(frozen=True)
class Shot:
    """One photo to take: file name, camera, exposure factor, noise seed, time of day (h, min, s)."""

    name: str
    camera: Camera
    exposure: float
    seed: int
    clock: tuple[int, int, int] = (10, 0, 0)
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors of R, G, B, as automatic white balance sets them."""

    @property
    def stamp(self) -> str:
        """EXIF date and time."""
        return "2024:05:18 {:02d}:{:02d}:{:02d}".format(*self.clock)


def pinhole(width: int, height: int, focal: float, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """K (3, 3) with square pixels and the principal point ``offset`` pixels from the middle."""
    return np.array([[focal, 0, (width - 1) / 2 + offset[0]], [0, focal, (height - 1) / 2 + offset[1]], [0, 0, 1.0]])


def sfm_shots() -> list[Shot]:
    """12 photos on an arc round the steps, handheld."""
    rng = np.random.default_rng(201)
    K = pinhole(1024, 768, 862.4, (-3.7, 2.6))
    shots = []
    for number, angle in enumerate(np.deg2rad(np.linspace(-43, 41, 12))):
        reach = 7.0 + rng.uniform(-0.35, 0.35)
        centre = np.array([reach * np.sin(angle) - 0.1, 4.7 - reach * np.cos(angle), 1.7 + rng.uniform(-0.3, 0.55)])
        target = np.array([0.25 - 0.5 * np.sin(angle), 4.9, 1.38]) + rng.uniform(-0.22, 0.22, 3)
        camera = Camera(K, look_at(centre, target, rng.uniform(-2.5, 2.5)), 1024, 768)
        shots.append(
            Shot(
                f"courtyard_{number + 1:02d}.jpg",
                camera,
                1.05 * rng.uniform(0.92, 1.1),
                300 + number,
                (10, 2 + number // 3, (17 * number + 5) % 60),
            )
        )
    return shots


def query_shots() -> list[Shot]:
    """2 photos of the courtyard from elsewhere, the second with a longer lens."""
    near = Camera(
        pinhole(1024, 768, 862.4, (-3.7, 2.6)),
        look_at(np.array([1.3, -0.5, 1.25]), np.array([-0.6, 5.6, 1.5]), -3.0),
        1024,
        768,
    )
    far = Camera(
        pinhole(1024, 768, 1210.0, (4.1, -1.8)),
        look_at(np.array([-2.1, -3.3, 2.5]), np.array([0.9, 5.2, 1.35]), 4.0),
        1024,
        768,
    )
    return [Shot("query_near.jpg", near, 1.0, 331, (16, 20, 11)), Shot("query_tele.jpg", far, 1.12, 332, (16, 24, 40))]


def panorama_shots() -> list[Shot]:
    """5 photos from the middle of the courtyard, turned about the optical centre, with automatic exposure."""
    rng = np.random.default_rng(202)
    centre = np.array([0.35, 0.75, 1.62])
    K = pinhole(800, 600, 853.0)
    shots = []
    for number, (yaw, exposure) in enumerate(zip((-51, -26, 0, 25, 50), (0.86, 1.12, 0.98, 1.34, 0.8), strict=True)):
        azimuth, pitch = np.deg2rad(yaw + rng.uniform(-1.5, 1.5)), np.deg2rad(-0.5 + rng.uniform(-1.5, 1.5))
        ahead = np.array([np.sin(azimuth) * np.cos(pitch), np.cos(azimuth) * np.cos(pitch), np.sin(pitch)])
        camera = Camera(K, look_at(centre, centre + ahead, rng.uniform(-1.8, 1.8)), 800, 600)
        balance = (1 + rng.uniform(-0.05, 0.05), 1.0, 1 + rng.uniform(-0.05, 0.05))
        clock = (11, 30, 4 * number)
        shots.append(Shot(f"pano_{number + 1}.jpg", camera, exposure, 340 + number, clock, balance))
    return shots


STEREO_BASELINE = 0.12
"""Metres between the two stereo cameras."""


def stereo_shots() -> tuple[Shot, Shot]:
    """The rectified pair: same rotation, second camera to the right, principal points ``doffs`` = 9.4 pixels apart."""
    first = look_at(np.array([-0.08, -1.5, 0.62]), np.array([-0.02, 0.4, 0.27]))
    shift = np.array([STEREO_BASELINE, 0.0, 0.0])
    second = np.concatenate([first[:, :3], (first[:, 3] - shift)[:, None]], axis=1)
    left = Camera(pinhole(640, 480, 612.0, (-4.7, 1.3)), first, 640, 480)
    right = Camera(pinhole(640, 480, 612.0, (4.7, 1.3)), second, 640, 480)
    return Shot("im0.png", left, 1.0, 350), Shot("im1.png", right, 1.0, 351)


def objects_shot() -> Shot:
    """The cluttered table."""
    view = look_at(np.array([0.06, -1.3, 0.68]), np.array([0.0, 0.06, 0.085]), 1.5)
    return Shot("scene.jpg", Camera(pinhole(1024, 768, 1190.0, (2.2, -3.1)), view, 1024, 768), 1.05, 360, (15, 12, 30))
