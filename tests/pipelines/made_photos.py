"""Small photos made for the tests of reading: known colours in known places."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pil

from pipelines.core.types import Photo
from pipelines.images.read import scan

RED, GREEN, BLUE, GREY = (250, 10, 10), (10, 250, 10), (10, 10, 250), (200, 200, 200)


def corners(height: int = 80, width: int = 120) -> np.ndarray:
    """A picture whose four quarters differ: red, green above blue, grey."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, GREY
    return picture


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.asarray(cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX), np.uint8)


def quarters(pixels: np.ndarray) -> list[tuple[int, ...]]:
    height, width = pixels.shape[:2]
    spots = [(height // 4, width // 4), (height // 4, 3 * width // 4), (3 * height // 4, width // 4)]
    return [tuple(int(v) for v in np.atleast_1d(pixels[spot])) for spot in [*spots, (3 * height // 4, 3 * width // 4)]]


def close(found: list[tuple[int, ...]], wanted: list[tuple[int, ...]], tolerance: int = 12) -> bool:
    return bool(np.abs(np.array(found, int) - np.array(wanted, int)).max() <= tolerance)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(pixels).save(path, **options)
    return path


def one(folder: Path) -> Photo:
    photos, rejected = scan(folder)
    assert not rejected and len(photos) == 1, rejected
    return photos[0]


def why(folder: Path) -> str:
    photos, rejected = scan(folder)
    assert not photos and len(rejected) == 1
    assert rejected[0].try_
    return rejected[0].why


def encoded(suffix: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Pil.fromarray(texture(240, 320)).save(buffer, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix), **options)
    return buffer.getvalue()
