"""Which files are photos, and how the bytes of one become pixels: OpenCV first, Pillow where OpenCV cannot.

Pixels come out as they are stored, except TIFF, which both libraries turn upright by themselves; see
:func:`stored_orientation`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError

# fmt: off
PHOTO_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm", ".pgm", ".pnm", ".jp2",
    ".gif", ".avif", ".heic", ".heif",
))
RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef", ".nrw", ".orf",
    ".pef", ".raf", ".raw", ".rw2", ".srw", ".x3f",
))
# fmt: on
# OpenCV refuses more (CV_IO_MAX_IMAGE_PIXELS, CV_IO_MAX_IMAGE_WIDTH and _HEIGHT).
MAX_PIXELS = 2**30
MAX_SIDE = 2**20

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_EXIF_KEYS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ROWS_FLIPPED, _COLUMNS_FLIPPED = (3, 4, 7, 8), (2, 3, 6, 7)  # by EXIF orientation, after the sides have been swapped
_REDUCTIONS = (8, 4, 2)
# OpenCV's conversion of what it read, by whether that is in colour and whether colour is wanted.
_CONVERSIONS = {(True, True): "BGR2RGB", (True, False): "BGR2GRAY", (False, True): "GRAY2RGB"}
# A 16 bit photo that uses less than this share of the range is stretched to what it uses: thermal and 12 bit cameras.
_NARROW = 1 / 8


@cache
def pillow() -> ModuleType:
    """PIL.Image, ready for large photos, and for HEIC where the package pillow-heif is installed."""
    from PIL import Image

    # Pillow's guard against decompression bombs stops at 179 megapixels, which phones exceed; ours is MAX_PIXELS.
    Image.MAX_IMAGE_PIXELS = None
    # Pillow warns of oddities in EXIF and TIFF that a user can do nothing about.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    return Image


def open_picture(data: NDArray[np.uint8]) -> Any:
    """The bytes of a file as a ``PIL.Image.Image`` whose pixels are not decoded, not even when its EXIF is asked for.

    Raises:
        Exception: of whatever kind Pillow's reader of the format raises.
    """
    image, stream = pillow(), io.BytesIO(data.data)
    # Left to open them, Pillow would load its readers of all usual formats first.
    if is_jpeg(data):
        from PIL import JpegImagePlugin

        return JpegImagePlugin.JpegImageFile(stream)
    if data[: len(_PNG)].tobytes() != _PNG:
        return image.open(stream)
    from PIL import PngImagePlugin

    picture = PngImagePlugin.PngImageFile(stream)
    if not _has_late_exif(data):
        # Where there is none before the pixels, Pillow would decode them to see whether there is some behind.
        picture.info.setdefault("exif", None)
    return picture


def is_jpeg(data: NDArray[np.uint8]) -> bool:
    """True for the bytes of a JPEG file."""
    return data[:3].tobytes() == _JPEG


def is_tiff(data: NDArray[np.uint8]) -> bool:
    """True for the bytes of a TIFF or BigTIFF file."""
    return data[:4].tobytes() in _TIFF


def stored_orientation(data: NDArray[np.uint8], orientation: int) -> int:
    """EXIF orientation that still has to be applied to decoded pixels.

    OpenCV's and Pillow's TIFF readers apply it always; for all other formats it is left to us, so that it
    happens once. (Measured with OpenCV 5.0 and Pillow 13; tests/pipelines/test_images.py holds it.)
    """
    return 1 if is_tiff(data) else orientation


def apply_orientation(pixels: NDArray, orientation: int) -> NDArray:
    """Turn stored pixels (H,W) or (H,W,3) upright, by EXIF 2.3 tag 0x0112 (1..8); contiguous."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in _ROWS_FLIPPED:
        pixels = pixels[::-1]
    if orientation in _COLUMNS_FLIPPED:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def decode(data: NDArray[np.uint8], *, color: bool, reduce: int = 1, deep: bool = False) -> NDArray:
    """Decode the first picture of a file to (H,W) grey or (H,W,3) RGB, uint8.

    Alpha is dropped, palettes and CMYK are converted, 16 bit and float are mapped by :func:`to_8_bit`.

    Args:
        data: the file's bytes.
        color: RGB instead of grey.
        reduce: 1, 2, 4 or 8; JPEGs are decoded at this fraction of their size (ceil), which costs less than
            decoding and shrinking them. Ignored for other formats.
        deep: leave 16 bit as they are, uint16.

    Raises:
        InputError: if neither library can decode it completely.
    """
    cv2 = _opencv()
    kind = "COLOR" if color else "GRAYSCALE"
    if color and reduce == 1 and is_jpeg(data):
        pixels = _imdecode(data, cv2.IMREAD_COLOR_RGB)
        return _decode_with_pillow(data, color=True) if pixels is None else pixels
    reduced = f"REDUCED_{kind}_{reduce}" if reduce > 1 and is_jpeg(data) else kind
    # IMREAD_COLOR_RGB would spare the swap below for others too, but returns noise for 16 bit TIFF in OpenCV 5.0.
    pixels = _imdecode(data, getattr(cv2, f"IMREAD_{reduced}"))
    if pixels is None:
        # OpenCV reads no float RGB TIFF as grey, and no grey one of 64 bit in colour.
        pixels = _imdecode(data, cv2.IMREAD_ANYCOLOR)
    if pixels is None:
        return _decode_with_pillow(data, color=color)
    code = _CONVERSIONS.get((pixels.ndim == 3, color))
    if code:
        # OpenCV converts no other depths: signed and 32 bit integers, and 64 bit floats.
        convertible = pixels.dtype in (np.uint8, np.uint16, np.float32)
        pixels = cv2.cvtColor(pixels if convertible else pixels.astype(np.float32), getattr(cv2, f"COLOR_{code}"))
    return pixels if deep and pixels.dtype == np.uint16 else to_8_bit(pixels)


@cache
def _opencv() -> ModuleType:
    import cv2

    # OpenCV writes its opinion of broken files to stderr; they are told to the user in our words.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _imdecode(data: NDArray[np.uint8], mode: int) -> NDArray | None:
    cv2 = _opencv()
    try:
        return cv2.imdecode(data, mode | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None


def _decode_with_pillow(data: NDArray[np.uint8], *, color: bool) -> NDArray[np.uint8]:
    try:
        with pillow().open(io.BytesIO(data.data)) as picture:
            picture.load()
            if picture.mode == "F" or picture.mode.startswith("I"):
                grey = to_8_bit(np.asarray(picture))
                return np.repeat(grey[:, :, None], 3, 2) if color else grey
            return np.asarray(picture.convert("RGB" if color else "L"))
    except Exception as error:  # Pillow's plugins raise whatever a broken file leads them to.
        raise InputError("A photo cannot be decoded", _reason(error), "save it again as JPEG or PNG") from error


def _reason(error: Exception) -> str:
    text = str(error)
    if "truncated" in text or "Truncated" in text:
        return "the file ends before the picture does, as after a broken download or copy"
    if "cannot identify" in text:
        return "it is not a picture in any format that can be read here"
    return text.split("<")[0].strip() or type(error).__name__


def to_8_bit(pixels: NDArray) -> NDArray[np.uint8]:
    """Map pixels of any depth to uint8, one mapping for the whole photo.

    uint8 stays. 16 bit that uses at least an eighth of its range becomes value / 257, as other programs show
    it. Anything else (12 bit stored in 16, thermal cameras, float) is stretched linearly so that its 0.1 and
    99.9 per cent quantiles, taken on every k-th pixel, become 0 and 255. NaN and infinity become 0.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    flat = pixels.reshape(-1)
    some = flat[:: max(1, flat.size // 500_000)]
    some = some[np.isfinite(some)]
    if not some.size:
        return np.zeros(pixels.shape, np.uint8)
    low, high = (float(q) for q in np.quantile(some, (0.001, 0.999)))
    if pixels.dtype == np.uint16 and high - low >= 65535 * _NARROW:
        low, high = 0.0, 65535.0
    scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-12))
    return np.clip(np.nan_to_num(scaled, nan=0, posinf=0, neginf=0) + np.float32(0.5), 0, 255).astype(np.uint8)


def check_png(data: NDArray[np.uint8]) -> str:
    """Why a PNG is damaged, or an empty string: each chunk's checksum, and the closing chunk (PNG spec, 5.3)."""
    import zlib

    for kind, chunk in _png_chunks(data):
        body, checksum = chunk[:-4], chunk[-4:]
        if zlib.crc32(body) != int.from_bytes(checksum, "big"):
            return "a checksum in the file is wrong: it was damaged"
        if kind == b"IEND":
            return ""
    return "the file ends before the picture does, as after a broken download or copy"


def _png_chunks(data: NDArray[np.uint8]) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and bytes (kind, content, checksum) of each whole chunk of a PNG."""
    at, view = len(_PNG), data.data
    while at + 12 <= len(view):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if end > len(view):
            return
        yield bytes(view[at + 4 : at + 8]), view[at + 4 : end]
        at = end


def _has_late_exif(data: NDArray[np.uint8]) -> bool:
    """Whether a PNG has EXIF, or an orientation in XMP, behind its pixels; True too for one that ends too early."""
    behind = False
    for kind, chunk in _png_chunks(data):
        if kind == b"IEND":
            return False
        behind |= kind == b"IDAT"
        if behind and (kind == b"eXIf" or bytes(chunk[4:26]).startswith(_PNG_EXIF_KEYS)):
            return True
    return True


def sniff(data: NDArray[np.uint8]) -> str:
    """In plain words, what a file is that no decoder knows."""
    head = data[:512].tobytes()
    if not head.strip(b"\0"):
        return "the file begins with nothing but zeros, as after a broken copy"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "it is a HEIC picture, which needs the package pillow-heif"
    if b"<html" in head.lower() or b"<!doctype" in head.lower():
        return "it is a web page, not a picture"
    if head.startswith(b"%PDF"):
        return "it is a PDF, not a picture"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS, not the picture itself"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return "it is a text file, not a picture"
    return "it is not a picture in any format that can be read here"


def reduction(width: int, height: int, target: int, orientation: int) -> int:
    """Largest JPEG reduction that still decodes twice ``target`` pixels on the long side; 1 without a target.

    A side that is not a multiple of it is decoded with a last pixel that stands for fewer. Sides that the orientation
    flips must be multiples, or that pixel would come first and shift all others.

    Decoding straight to little more than the target is faster still (24 instead of 48 ms for 10 megapixels to
    1,600 px) but softer than averaging: SIFT found 8 per cent fewer keypoints.
    """
    if not target:
        return 1
    flipped = [width] * (orientation in _COLUMNS_FLIPPED) + [height] * (orientation in _ROWS_FLIPPED)
    fitting = (factor for factor in _REDUCTIONS if not any(side % factor for side in flipped))
    return next((factor for factor in fitting if max(width, height) // factor >= 2 * target), 1)
