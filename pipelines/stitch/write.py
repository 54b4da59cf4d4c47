"""Panoramas to files: PNG and TIFF strip by strip, 8 and 16 bit; JPEG and WebP by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import OutputError
from pipelines.images.formats import pillow
from pipelines.stitch.render import Rendered
from pipelines.stitch.tags import Tags
from pipelines.store.files import write_atomic

_STRIP = 4 << 20
"""Bytes that are compressed at once."""
_TIFF_BYTES = (1 << 32) - (1 << 20)
"""What a TIFF's 32-bit offsets reach, less what its directories take."""
_LEVEL = 2
"""Of zlib: level 6 takes five times as long for 5 % less."""


class Format(NamedTuple):
    """How a kind of file is written.

    Attributes:
        write: (stream, picture, tags); the picture strip by strip.
        alpha: whether it can show a transparent border.
        deep: whether it can hold 16 bit.
        longest: side in px.
    """

    write: Callable[[BinaryIO, Rendered, Tags], None]
    alpha: bool
    deep: bool
    longest: int


def _strips(rendered: Rendered, alpha: bool) -> Iterator[NDArray]:
    """(h,W,C) parts from top to bottom, with the mask as fourth channel if asked for."""
    height, width = rendered.mask.shape
    depth = rendered.pixels.dtype.itemsize
    rows = max(1, _STRIP // (width * 4 * depth))
    for top in range(0, height, rows):
        part = rendered.pixels[top : top + rows]
        if alpha:
            mask = rendered.mask[top : top + rows].astype(part.dtype) * part.dtype.type(257 if depth == 2 else 1)
            part = np.dstack([part, mask])
        yield np.ascontiguousarray(part)


def _has_border(rendered: Rendered) -> bool:
    return not rendered.mask.all()


def write_png(stream: BinaryIO, rendered: Rendered, tags: Tags) -> None:
    """PNG 1.2 with eXIf and XMP chunks; each row stored as its difference from the one above."""
    height, width = rendered.mask.shape
    alpha, depth = _has_border(rendered), rendered.pixels.dtype.itemsize

    def chunk(kind: bytes, data: bytes) -> None:
        stream.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    stream.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8 * depth, 6 if alpha else 2, 0, 0, 0))
    chunk(b"eXIf", tags.exif_bytes)
    chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + tags.xmp.encode())
    packer, above = zlib.compressobj(_LEVEL), None
    for part in _strips(rendered, alpha):
        rows = part.astype(">u2" if depth == 2 else "u1").view(np.uint8).reshape(len(part), -1)
        before = np.concatenate([np.zeros_like(rows[:1]) if above is None else above, rows[:-1]])
        above = rows[-1:].copy()
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = 2  # "up"
        np.subtract(rows, before, out=filtered[:, 1:])
        packed = packer.compress(filtered.data)
        if packed:
            chunk(b"IDAT", packed)
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def write_tiff(stream: BinaryIO, rendered: Rendered, tags: Tags) -> None:
    """TIFF 6.0, deflated strips with horizontal differences, EXIF and XMP; the directory stands at the end.

    Raises:
        OutputError: it does not fit into what the format can hold.
    """
    from PIL import TiffImagePlugin

    height, width = rendered.mask.shape
    alpha, depth = _has_border(rendered), rendered.pixels.dtype.itemsize
    channels = 4 if alpha else 3
    stream.write(b"II*\0\0\0\0\0")
    offsets, counts, rows = [], [], 1
    for number, part in enumerate(_strips(rendered, alpha)):
        rows = len(part) if not number else rows
        beside = part.copy()
        beside[:, 1:] -= part[:, :-1]
        packed = zlib.compress(beside.astype(part.dtype.newbyteorder("<")).data, _LEVEL)
        offsets.append(stream.tell())
        counts.append(len(packed))
        if offsets[-1] + counts[-1] > _TIFF_BYTES:
            raise OutputError("Cannot write the panorama", "a TIFF has at most 4 GB", "-o NAME.png, a smaller --scale")
        stream.write(packed)
    entries: dict[int, tuple[int, tuple[int, ...] | bytes]] = {
        256: (4, (width,)), 257: (4, (height,)), 258: (3, (8 * depth,) * channels), 259: (3, (8,)), 262: (3, (2,)),
        273: (4, tuple(offsets)), 277: (3, (channels,)), 278: (4, (rows,)), 279: (4, tuple(counts)), 284: (3, (1,)),
        317: (3, (2,)), 700: (1, tags.xmp.encode()),
    }  # fmt: skip
    if alpha:
        entries[338] = (3, (2,))
    for tag, value in tags.exif.items():
        if isinstance(value, str):
            entries[tag] = (2, value.encode("utf-8", "replace") + b"\0")
    entries[0x0112] = (3, (1,))
    for pointer in (0x8769, 0x8825):
        inner = dict(tags.exif.get_ifd(pointer))
        if inner:
            ifd = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
            for tag, value in inner.items():
                ifd[tag] = value
            place = _even(stream)
            stream.write(ifd.tobytes(place))
            entries[pointer] = (4, (place,))
    _write_directory(stream, entries)


def _even(stream: BinaryIO) -> int:
    """Where the stream stands, on a word's edge, as TIFF wants it."""
    if stream.tell() % 2:
        stream.write(b"\0")
    return stream.tell()


def _write_directory(stream: BinaryIO, entries: dict[int, tuple[int, tuple[int, ...] | bytes]]) -> None:
    """The main directory: tag -> type (1 and 2 bytes, 3 shorts, 4 longs) and values; and the pointer to it."""
    rows = []
    for tag, (kind, values) in sorted(entries.items()):
        if isinstance(values, bytes):
            data = values
        else:
            data = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(data) > 4:
            place = _even(stream)
            stream.write(data)
            data = struct.pack("<I", place)
        rows.append(struct.pack("<HHI", tag, kind, len(values)) + data.ljust(4, b"\0"))
    place = _even(stream)
    stream.write(struct.pack("<H", len(rows)) + b"".join(rows) + b"\0\0\0\0")
    stream.seek(4)
    stream.write(struct.pack("<I", place))


def _by_pillow(suffix: str, **options: object) -> Callable[[BinaryIO, Rendered, Tags], None]:
    def write(stream: BinaryIO, rendered: Rendered, tags: Tags) -> None:
        pixels = rendered.pixels
        if suffix != ".jpg" and _has_border(rendered):
            pixels = np.dstack([pixels, rendered.mask])
        packed = io.BytesIO()
        packed.name = f"pano{suffix}"  # Pillow loads one writer for a file's name, but all usual ones for a format's.
        picture = pillow().fromarray(np.ascontiguousarray(pixels))
        picture.save(packed, exif=tags.exif, xmp=tags.xmp.encode(), **options)
        stream.write(packed.getbuffer())

    return write


_JPEG = Format(_by_pillow(".jpg", quality=95, subsampling=0), False, False, 65_500)
_TIFF = Format(write_tiff, True, True, 1 << 30)
FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": Format(write_png, True, True, (1 << 31) - 1),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": Format(_by_pillow(".webp", quality=92), True, False, 16_383),
}
"""Suffix → how it is written."""


def format_of(path: Path) -> Format:
    """The format of a file's name, which :func:`pipelines.stitch.run.stitch` has accepted."""
    return FORMATS[path.suffix.lower()]


def write(path: Path, rendered: Rendered, tags: Tags) -> None:
    """Write a panorama.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(path, lambda stream: format_of(path).write(stream, rendered, tags))
