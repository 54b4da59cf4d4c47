"""Masks: pictures beside the photos that say where keypoints must not be. Black is ignored, anything else kept."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError
from pipelines.core.types import Photo
from pipelines.images import formats

# Sides of a mask and its photo may differ by a factor, whose two values may differ by this share (rounding).
_SAME_ASPECT = 0.01


def find_mask(photo: Photo, masks_dir: Path) -> Path | None:
    """The mask of a photo: ``<name>.png`` (COLMAP's naming, ``a/b.jpg.png``) or the name with .png for its suffix, also
    as .PNG.

    Returns:
        None if the photo has no mask, which keeps all of it.

    Raises:
        InputError: if there is no folder ``masks_dir``.
    """
    if not masks_dir.is_dir():
        raise InputError(f"The masks in {masks_dir} cannot be read", "there is no such folder", "check the name")
    stems = photo.name, PurePath(photo.name).with_suffix("").as_posix()
    for name in (stem + suffix for stem in stems for suffix in (".png", ".PNG")):
        path = masks_dir / name
        if path.is_file() and path.resolve() != photo.path.resolve():
            return path
    return None


def mask_content(path: Path) -> bytes:
    """The bytes of a mask's file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The mask {path} cannot be read", error.strerror or str(error), "check its rights") from error


def load_mask(path: Path, photo: Photo) -> NDArray[np.bool_]:
    """(H,W) bool in the pixels of the upright full-resolution photo; True where keypoints may be.

    A mask of another size with the same aspect is scaled. One that fits the photo as it is stored, before EXIF
    orientation, is turned with the photo.

    Raises:
        InputError: if the mask cannot be decoded or does not fit the photo.
    """
    import cv2

    data = np.frombuffer(mask_content(path), np.uint8)
    try:
        mask = formats.decode(data, color=False) if data.size else np.empty((0, 0), np.uint8)
    except InputError as error:
        raise InputError(f"The mask {path} cannot be read", error.why, "save it again as PNG") from error
    if not mask.size:
        raise InputError(f"The mask {path} cannot be read", "the file is empty", "save it again as PNG")
    if not _fits(mask, photo.width, photo.height) and photo.exif.orientation >= 5:
        mask = formats.apply_orientation(mask, photo.exif.orientation)
    if not _fits(mask, photo.width, photo.height):
        raise InputError(
            f"The mask {path} does not fit its photo {photo.name}",
            f"it has {mask.shape[1]} x {mask.shape[0]} pixels, the photo {photo.width} x {photo.height}",
            "draw the mask on the upright photo, at its size or smaller in the same proportion",
        )
    if mask.shape != (photo.height, photo.width):
        mask = np.asarray(cv2.resize(mask, (photo.width, photo.height), interpolation=cv2.INTER_NEAREST), np.uint8)
    return mask > 0


def _fits(mask: NDArray[np.uint8], width: int, height: int) -> bool:
    across, down = mask.shape[1] / width, mask.shape[0] / height
    # One pixel of rounding counts for much in a small mask.
    return abs(across / down - 1) <= _SAME_ASPECT + 1 / min(mask.shape)


def alpha_mask(photo: Photo) -> NDArray[np.bool_] | None:
    """(H,W) bool, False where a photo is fully transparent; None for a photo without transparency.

    Cut-out objects come as PNG, TIFF or WebP with alpha. What colours lie under it is left to chance, so
    keypoints there mean nothing. Formats that Pillow does not know have none that is seen.

    Raises:
        InputError: if the photo cannot be decoded.
    """
    pillow = formats.pillow()
    try:
        with pillow.open(photo.path) as picture:
            if not picture.has_transparency_data:
                return None
            alpha = np.asarray(picture.convert("RGBA"))[:, :, 3]
    except pillow.UnidentifiedImageError:
        return None
    except Exception as error:  # Pillow's plugins raise whatever a broken file leads them to.
        raise InputError(f"{photo.name} cannot be read", str(error), "save it again") from error
    head = np.fromfile(photo.path, np.uint8, 4)
    seen = formats.apply_orientation(alpha, formats.stored_orientation(head, photo.exif.orientation)) > 0
    return None if seen.all() else seen


def keep(xy: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) bool: which keypoints (N,2), in pixels of the photo, lie where the mask allows.

    A keypoint belongs to the pixel whose centre is nearest; those outside the photo are not kept.
    """
    column, row = np.floor(np.asarray(xy, np.float64).reshape(-1, 2) + 0.5).astype(np.int64).T
    height, width = mask.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    kept = np.zeros(len(inside), bool)
    kept[inside] = mask[row[inside], column[inside]]
    return kept
