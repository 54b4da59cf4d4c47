"""Photos from a folder, and the pixels of a photo: upright, 8 bit, at a working size."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError, printable
from pipelines.core.progress import Progress, Silent
from pipelines.core.types import Exif, Photo, Rejected
from pipelines.images import formats
from pipelines.images.exif import read_exif

# Detectors need room for their filters' borders.
MIN_SIDE = 32
# Folders that are no photos of the user's: hidden ones are skipped besides.
_SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN"})
# A folder that holds one of these is a map, a dense model or an export; the last two hold copies of photos.
_OWN_FOLDERS = frozenset({"recon.json", "dense.json", "recon-export.json"})


@dataclass(frozen=True)
class Image:
    """Pixels of a photo at a working size.

    Attributes:
        pixels: (H,W) grey or (H,W,3) RGB, uint8, upright.
        scale: (sx, sy), full-resolution pixels per working pixel.
    """

    pixels: NDArray[np.uint8]
    scale: tuple[float, float]

    def to_full(self, xy: NDArray) -> NDArray[np.float32]:
        """(N,2) working pixels to full-resolution pixels; the centre of the top-left pixel is (0, 0) in both."""
        return ((np.asarray(xy, np.float64) + 0.5) * self.scale - 0.5).astype(np.float32)

    def from_full(self, xy: NDArray) -> NDArray[np.float32]:
        """(N,2) full-resolution pixels to working pixels."""
        return ((np.asarray(xy, np.float64) + 0.5) / self.scale - 0.5).astype(np.float32)


# --- finding photos ------------------------------------------------------------------------------------------


def scan(
    source: Path | Sequence[Path],
    *,
    progress: Progress | None = None,
    exclude: Sequence[Path] = (),
    threads: int | None = None,
    decode: bool = True,
) -> tuple[list[Photo], list[Rejected]]:
    """Find the photos in a folder and its subfolders, and check that each can be decoded.

    Files are photos by their suffix (``formats.PHOTO_SUFFIXES``); others are left alone in silence, camera raw
    files too if a photo of the same name lies beside them. Hidden files and folders and recon's maps, dense
    models and exports are not entered, and pictures that recon wrote itself are rejected, unless they are named.
    A photo that cannot be used never stops the others.

    Args:
        source: a folder, or the photos themselves; these are named relative to their common folder.
        progress: told of every file.
        exclude: folders inside ``source`` that hold no photos, e.g. the masks.
        threads: files checked at once; by default one per core.
        decode: whether all are decoded for the check; who reads each photo at once anyway finds out himself.

    Returns:
        Photos and rejected files, each in natural order of names (``img2`` before ``img10``).

    Raises:
        InputError: if the folder does not exist or cannot be opened, or has no file that looks like a photo; or if
            it is given among files.
    """
    rejected: list[Rejected] = []
    files = _files(source, exclude, rejected)
    with (
        (progress or Silent()).stage("photos", len(files)) as task,
        ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool,
    ):
        found: list[Photo | Rejected] = []
        for result in pool.map(lambda item: _inspect(item[0], item[1], decode), files):
            task.advance(1, result.name)
            found.append(result)
    photos = [item for item in found if isinstance(item, Photo)]
    rejected += [item for item in found if isinstance(item, Rejected)]
    if isinstance(source, Path):
        photos, own = without_own(photos)
        rejected += own
    return photos, sorted(rejected, key=lambda item: natural_key(item.name))


def without_own(photos: Sequence[Photo]) -> tuple[list[Photo], list[Rejected]]:
    """The photos, and apart from them the pictures that recon wrote itself."""
    own = [Rejected(photo.name, "it is no photo, recon made it") for photo in photos if photo.exif.own]
    return [photo for photo in photos if not photo.exif.own], own


def list_photos(folder: Path) -> tuple[list[Path], list[Rejected]]:
    """What :func:`scan` looks at in a folder: files that may be photos, and what is left out by its name.

    Raises:
        InputError: as :func:`scan`.
    """
    rejected: list[Rejected] = []
    return [path for _, path in _files(folder, (), rejected)], rejected


def natural_key(name: str) -> tuple:
    """Sort key that orders numbers inside names by value; folders first by their names."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part), name


def _files(source: Path | Sequence[Path], exclude: Sequence[Path], rejected: list[Rejected]) -> list[tuple[str, Path]]:
    """(name, path) of all candidates in natural order; unreadable folders and raw files go to ``rejected``."""
    if not isinstance(source, Path):
        return _given_files(source)
    if not source.is_dir():
        why = "it is a file" if source.is_file() else "there is no such folder"
        raise InputError(f"The photos in {source} cannot be read", why, "give the folder that holds the photos")
    every = list(_walk(source, {path.resolve() for path in exclude}, rejected))
    names = [(path.relative_to(source).as_posix(), path) for path in every]
    taken = {
        PurePath(name).with_suffix("").as_posix() for name, path in names if _suffix(path) in formats.PHOTO_SUFFIXES
    }
    files = []
    for name, path in names:
        if _suffix(path) in formats.PHOTO_SUFFIXES:
            files.append((name, path))
        elif _suffix(path) in formats.RAW_SUFFIXES and PurePath(name).with_suffix("").as_posix() not in taken:
            rejected.append(Rejected(name, "it is a camera raw file", "convert it to JPEG or 16 bit TIFF"))
    if not files and not rejected:
        what = f"{len(names)} other files" if names else "nothing"
        raise InputError(
            f"There are no photos in {source}",
            f"the folder holds {what}",
            "give the folder that holds the photos (JPEG, PNG, TIFF, WebP ...)",
        )
    return sorted(files, key=lambda item: natural_key(item[0]))


def _given_files(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    if not paths:
        raise InputError("No photos were given", "the list of files is empty", "name at least one photo")
    folder = next((path for path in paths if path.is_dir()), None)
    if folder is not None:
        raise InputError(
            f"The folder {folder} is given among other photos",
            "they come from one folder, with all that are in it, or are named one by one",
            f"one folder that holds them all, or {folder}/*.jpg",
        )
    unique = list({os.path.abspath(path): path for path in paths})
    base = os.path.commonpath([os.path.dirname(path) for path in unique])
    return [(Path(os.path.relpath(path, base)).as_posix(), Path(path)) for path in unique]


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _walk(folder: Path, exclude: set[Path], rejected: list[Rejected]) -> Iterator[Path]:
    """All files below a folder, links followed, each real folder once."""
    entered = set(exclude)

    def unreadable(error: OSError) -> None:
        name = Path(error.filename or folder)
        if name == folder:
            raise InputError(f"The photos in {folder} cannot be read", error.strerror or str(error))
        rejected.append(
            Rejected(name.relative_to(folder).as_posix(), "the folder cannot be opened", "check its rights")
        )

    for here, folders, files in os.walk(folder, followlinks=True, onerror=unreadable):
        real = Path(here).resolve()
        is_own = Path(here) != folder and not _OWN_FOLDERS.isdisjoint(files)
        if real in entered or is_own:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS]
        yield from (Path(here) / name for name in files if not name.startswith("."))


# --- checking one photo --------------------------------------------------------------------------------------


def _inspect(name: str, path: Path, decode: bool) -> Photo | Rejected:
    """Read a file once: hash it, read its header, and make sure that it decodes to the end."""
    if name != printable(name):
        return Rejected(name, "its name has characters that are no text", "rename the file")
    try:
        data = _bytes(path)
    except InputError as error:
        return Rejected(name, error.why, error.try_)
    if not data.size:
        return Rejected(name, "the file is empty (0 bytes)", "copy or download it again")
    try:
        width, height, exif = _header(data)
        _check_size(width, height)
        _check_content(data, decode)
    except InputError as error:
        return Rejected(name, error.why, error.try_)
    except MemoryError:
        return Rejected(name, "there is not enough memory to decode it", "halve its size")
    return Photo(name, path, width, height, hashlib.sha256(data.data).hexdigest(), exif)


def _bytes(path: Path) -> NDArray[np.uint8]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # A pipe would be waited for without end.
            raise InputError(f"{path} cannot be read", "it is no file but a folder, pipe or device", "leave it out")
        return np.fromfile(path, np.uint8)
    except FileNotFoundError:
        raise InputError(f"{path} cannot be read", "there is no such file", "check the name") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read", error.strerror or str(error), "check its rights") from error


def _header(data: NDArray[np.uint8]) -> tuple[int, int, Exif]:
    """Width and height after orientation, and EXIF."""
    try:
        with formats.open_picture(data) as picture:
            exif = read_exif(picture, *picture.size)
            width, height = picture.size
    except Exception:  # Not for Pillow; OpenCV may still know it (JPEG 2000, TIFF of rare depths).
        return _header_by_decoding(data)
    # Pillow gives a TIFF's size as it will be after the orientation, which it applies itself.
    if formats.stored_orientation(data, exif.orientation) >= 5:
        width, height = height, width
    return width, height, exif


def _header_by_decoding(data: NDArray[np.uint8]) -> tuple[int, int, Exif]:
    try:
        height, width = formats.decode(data, color=False).shape
    except InputError:
        raise InputError("A file is no photo", formats.sniff(data), "remove it, or save the photo again") from None
    return width, height, Exif()


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(
            "A photo is too small",
            f"it has {width} x {height} pixels, and {MIN_SIDE} on the shorter side are needed to find keypoints",
            "leave it out, or give the original size",
        )
    if width * height > formats.MAX_PIXELS or max(width, height) > formats.MAX_SIDE:
        raise InputError(
            "A photo is too large",
            f"it has {width} x {height} pixels, more than the 2^30 that can be decoded",
            "halve its size, or cut it into overlapping tiles",
        )


def _check_content(data: NDArray[np.uint8], decode: bool) -> None:
    """Find out cheaply whether the file can be decoded to its end.

    PNG has checksums; without ``decode`` no other format is looked at. A JPEG is decoded at an eighth (12 ms for 10
    megapixels, a quarter of reading it in full; OpenCV 5 refuses a JPEG that was cut off anywhere); any other format
    is decoded in full.
    """
    if data[:4].tobytes() == b"\x89PNG":
        damage = formats.check_png(data)
        if damage:
            raise InputError("A photo is damaged", damage, "copy or download it again")
        return
    if not decode:
        return
    try:
        formats.decode(data, color=False, reduce=8)
    except InputError as error:
        raise InputError("A photo is damaged", error.why, "copy or download it again") from error


# --- reading pixels ------------------------------------------------------------------------------------------


def read_gray(photo: Photo, max_side: int = 0) -> Image:
    """Grey pixels of a photo, shrunk by area averaging so that its longer side is at most ``max_side``.

    Args:
        photo: as :func:`scan` found it.
        max_side: pixels; 0 for the full resolution. Photos are never enlarged.

    Returns:
        Image with (H,W) uint8 pixels.

    Raises:
        InputError: if the file is gone, damaged, or not the one that was scanned.
    """
    return _read(photo, max_side, color=False)


def pixel_size(width: int, height: int, max_side: int) -> float:
    """Px of a photo that one pixel of its picture stands for, which is shrunk to a longer side of ``max_side``."""
    return max(1.0, max(width, height) / max_side)


def shrunk_image(image: Image, max_side: int) -> Image:
    """The picture, shrunk by area averaging so that its longer side is at most ``max_side`` px."""
    import cv2

    height, width = image.pixels.shape[:2]
    shrink = max_side / max(height, width)
    if shrink >= 1:
        return image
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = np.asarray(cv2.resize(image.pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Image(small, (image.scale[0] * width / size[0], image.scale[1] * height / size[1]))


def read_color(photo: Photo, max_side: int = 0) -> NDArray[np.uint8]:
    """(H,W,3) RGB uint8 pixels of a photo; arguments and errors as :func:`read_gray`."""
    return read_color_image(photo, max_side).pixels


def read_color_image(photo: Photo, max_side: int = 0) -> Image:
    """RGB pixels with their scale; arguments and errors as :func:`read_gray`."""
    return _read(photo, max_side, color=True)


def read_deep(photo: Photo, max_side: int = 0) -> NDArray:
    """(H,W,3) RGB pixels, uint16 of a 16 bit photo and uint8 of others; arguments and errors as :func:`read_gray`."""
    return _read(photo, max_side, color=True, deep=True).pixels


def _read(photo: Photo, max_side: int, *, color: bool, deep: bool = False) -> Image:
    import cv2

    long_side = max(photo.width, photo.height)
    shrink = max_side / long_side if 0 < max_side < long_side else 1.0
    reduce = formats.reduction(photo.width, photo.height, max_side, photo.exif.orientation)
    try:
        data = _bytes(photo.path)
        stored = formats.decode(data, color=color, reduce=reduce, deep=deep)
    except InputError as error:
        raise InputError(f"{photo.name} cannot be read", error.why, error.try_) from error
    if not formats.is_jpeg(data):
        reduce = 1
    orientation = formats.stored_orientation(data, photo.exif.orientation)
    width, height = (photo.height, photo.width) if orientation >= 5 else (photo.width, photo.height)
    if stored.shape[:2] != (-(-height // reduce), -(-width // reduce)):
        raise InputError(
            f"{photo.name} cannot be read", "the file has changed since the photos were listed", "start the run again"
        )
    if shrink < 1:
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        scale = stored.shape[1] * reduce / size[0], stored.shape[0] * reduce / size[1]
        stored = np.asarray(cv2.resize(stored, size, interpolation=cv2.INTER_AREA), stored.dtype)
    else:
        scale = 1.0, 1.0
    if orientation >= 5:
        scale = scale[::-1]
    return Image(formats.apply_orientation(stored, orientation), scale)
