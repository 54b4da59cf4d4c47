"""Photos drawn from a formula over viewing rays, and a model of them: each undistorted pixel's colour is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines import colmap
from pipelines.core.maps import Camera, Model

LENS = Camera("OPENCV", 320, 240, (260.0, 264.0, 163.0, 117.0, -0.21, 0.05, 0.002, -0.001), "exif")
PORTRAIT = Camera("SIMPLE_RADIAL", 240, 320, (300.0, 119.5, 159.5, 0.08), "exif")
STRAIGHT = Camera("SIMPLE_PINHOLE", 320, 240, (270.0, 159.5, 119.5), "given")
NAMES = ("ordner/ä b.jpg", "ordner/c.png", "gedreht 90.jpg", "d.tif", "gerade.jpg")
CAMERAS = (LENS, LENS, PORTRAIT, LENS, STRAIGHT)


def colour(rays: np.ndarray) -> np.ndarray:
    """(…,2) points of the plane z = 1 -> (…,3) RGB of the world that the test's photos show."""
    u, v = rays[..., 0], rays[..., 1]
    waves = np.stack([np.sin(9 * u + 2 * v), np.sin(8 * v - 3 * u + 1), np.cos(6 * u + 6 * v)], axis=-1)
    return 128 + 90 * waves


def rays_by_opencv(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Rays of pixels by OpenCV's inversion of the lens model: independent of the pycolmap that the code uses."""
    p = camera.params
    if camera.model == "OPENCV":
        matrix, lens = np.array([[p[0], 0, p[2]], [0, p[1], p[3]], [0, 0, 1]]), np.array(p[4:8])
    else:
        matrix, lens = np.array([[p[0], 0, p[1]], [0, p[0], p[2]], [0, 0, 1]]), np.array([*p[3:], 0, 0, 0, 0][:4])
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-12)
    points = np.asarray(xy, np.float64).reshape(-1, 1, 2)
    return cv2.undistortPoints(points, matrix, lens, criteria=stop).reshape(-1, 2)


def draw(camera: Camera) -> np.ndarray:
    """(H,W,3) uint8 photo of the formula through a lens."""
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = rays_by_opencv(camera, np.column_stack([x.ravel(), y.ravel()]))
    return np.rint(colour(rays)).astype(np.uint8).reshape(camera.height, camera.width, 3)


def draw_photos(folder: Path) -> Path:
    """Write the photos: through their lenses, one of them on its side with an EXIF orientation."""
    (folder / "ordner").mkdir()
    for name, camera in zip(NAMES, CAMERAS, strict=True):
        picture = Image.fromarray(draw(camera))
        if name.startswith("gedreht"):
            # The file lies on its side; its tag says how to turn it upright (6: by 90 degrees clockwise).
            exif = Image.Exif()
            exif[0x0112] = 6
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / name, quality=98, subsampling=0, exif=exif)
        else:
            picture.save(folder / name, **({} if name.endswith(("png", "tif")) else {"quality": 98, "subsampling": 0}))
    return folder


def make_model() -> Model:
    """Points in front of the cameras, and exactly where each photo sees them."""
    rng = np.random.default_rng(3)
    xyz = rng.uniform([-1.2, -0.8, -0.5], [1.2, 0.8, 0.5], (300, 3))
    poses = []
    for i in range(len(NAMES)):
        turn = cv2.Rodrigues(np.array([0.05 * i, 0.3 * (i - 2), 0.02]))[0]
        poses.append(np.column_stack([turn, [0.1 * i, -0.05, 4.0 + 0.2 * i]]))
    obs_image, obs_point, obs_xy = [], [], []
    for i, (camera, pose) in enumerate(zip(CAMERAS, poses, strict=True)):
        local = xyz @ pose[:, :3].T + pose[:, 3]
        xy = colmap.pixels_of_rays(camera, local[:, :2] / local[:, 2:])
        inside = (xy > 0).all(axis=1) & (xy < [camera.width - 1, camera.height - 1]).all(axis=1)
        seen = np.flatnonzero(inside)
        obs_image.append(np.full(len(seen), i))
        obs_point.append(seen)
        obs_xy.append(xy[seen])
    image, point = np.concatenate(obs_image), np.concatenate(obs_point)
    kept, point = np.unique(point, return_inverse=True)
    return Model(
        names=NAMES,
        cameras=CAMERAS,
        cam_from_world=np.array(poses),
        xyz=xyz[kept],
        rgb=rng.integers(0, 256, (len(kept), 3), dtype=np.uint8),
        errors=rng.uniform(0.1, 1, len(kept)).astype(np.float32),
        obs_image=image.astype(np.int32),
        obs_point=point.astype(np.int32),
        obs_keypoint=np.arange(len(image), dtype=np.int32),
        obs_xy=np.concatenate(obs_xy).astype(np.float32),
    )
