"""Pictures that recon makes, in the format of their names and marked as its own, so that none is taken for a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError
from pipelines.images.exif import OWN_PICTURE, SOFTWARE
from pipelines.store.files import write_atomic

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_OPTIONS: dict[str, dict[str, int]] = {"JPEG": {"quality": 92}, "PNG": {"compress_level": 2}}
"""PNG: level 6, Pillow's own, takes five times as long for 8 % less."""


def check_suffix(path: Path) -> None:
    """Refuse a file name that stands for no picture format, before any work is done.

    Raises:
        ConfigError: naming the suffixes that can be written.
    """
    from PIL import Image

    if path.suffix.lower() not in SUFFIXES or path.suffix.lower() not in Image.registered_extensions():
        raise ConfigError(
            f"No picture can be written to {path}",
            f"its name must end in {', '.join(SUFFIXES)}",
            f"--out {path.stem or 'picture'}.png",
        )


def write_picture(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write (H,W,3) RGB or (H,W) grey, the latter also of 16 bit as PNG or TIFF, in the format of the file's suffix.

    Raises:
        OutputError: the file cannot be written.
    """
    from PIL import Image

    picture, mark = Image.fromarray(np.ascontiguousarray(pixels)), Image.Exif()
    mark[SOFTWARE] = OWN_PICTURE
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_atomic(path, lambda stream: picture.save(stream, kind, exif=mark, **_OPTIONS.get(kind, {})))


def thumbnail(pixels: NDArray[np.uint8], side: int, quality: int) -> bytes:
    """(H,W,3) RGB as a JPEG whose longer side is ``side`` px at most."""
    import cv2

    shrink = min(1.0, side / max(pixels.shape[:2]))
    size = max(1, round(pixels.shape[1] * shrink)), max(1, round(pixels.shape[0] * shrink))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
