"""What the head of a JPEG or PNG says - size, EXIF, transparency - straight from its bytes, and EXIF back to bytes.

Pillow knows all of this too, but takes 0.02 s to be imported: as long as two photos take to be stitched to be decoded.
Whatever is out of the ordinary is left to it. EXIF 2.32 is a TIFF 6.0 structure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EXIF, GPS = 0x8769, 0x8825
"""Tags in the main directory that point to the others."""
_ITEM = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
"""TIFF's types, as :mod:`struct` has them."""
_MOST = 1000
"""Entries of a directory; more are damage."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Entry:
    """A value of a directory: its type in TIFF, how many there are, and their bytes, the least first."""

    kind: int
    count: int
    data: bytes

    @property
    def value(self) -> Any:
        """Text, bytes, a number, or a tuple of numbers."""
        item = _ITEM[self.kind]
        if item == "s":
            return self.data.removesuffix(b"\0").decode("latin-1") if self.kind == 2 else self.data
        numbers = struct.unpack(f"<{self.count * len(item)}{item[0]}", self.data)
        if len(item) == 2:
            numbers = tuple(a / b if b else float("nan") for a, b in zip(numbers[::2], numbers[1::2], strict=True))
        return numbers[0] if self.count == 1 else numbers


Directory = Mapping[int, Entry]


@dataclass(frozen=True)
class Head:
    """Width and height as stored, px; EXIF without its header, empty for none."""

    width: int
    height: int
    exif: bytes


def read_head(data: memoryview) -> Head | None:
    """The head of a JPEG or PNG; None for other files, and where there is more than is looked for here."""
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg_head(data)
    return _png_head(data) if data[:8] == b"\x89PNG\r\n\x1a\n" else None


def _jpeg_head(data: memoryview) -> Head | None:
    at, exif = 2, b""
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        if marker in _FRAMES and len(segment) >= 5:
            return Head(int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[1:3], "big"), exif)
        if marker == 0xE1 and segment[:6] == b"Exif\0\0":
            if exif:
                return None
            exif = bytes(segment[6:])
        elif marker == 0xE1 and b"Orientation" in bytes(segment):
            return None  # XMP says which way is up: Pillow takes that where EXIF does not.
        elif marker in (0xD9, 0xDA):
            return None
        at += 2 + length
    return None


def _png_head(data: memoryview) -> Head | None:
    if len(data) < 33 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack(">II", data[16:24])
    if data[25] not in (0, 2, 3):  # It has an alpha channel.
        return None
    at = 33
    while at + 8 <= len(data):
        kind = bytes(data[at + 4 : at + 8])
        if kind == b"IDAT":
            return Head(width, height, b"")
        if kind in (b"eXIf", b"tRNS", b"iTXt", b"zTXt", b"tEXt", b"acTL"):
            return None  # EXIF, transparency, or text that may hold EXIF.
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return None


def read_directories(exif: bytes) -> tuple[dict[int, Entry], dict[int, Entry], dict[int, Entry]]:
    """The main, the EXIF and the GPS directory of a TIFF structure; the last two are empty where there are none.

    Raises:
        ValueError: it is damaged.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError("no TIFF structure")
    main = _read_directory(exif, order, int.from_bytes(exif[4:8], "little" if order == "<" else "big"))
    inner = [
        _read_directory(exif, order, int(main[pointer].value)) if pointer in main else {} for pointer in (EXIF, GPS)
    ]
    return main, inner[0], inner[1]


def _read_directory(exif: bytes, order: str, at: int) -> dict[int, Entry]:
    try:
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        if count > _MOST:
            raise ValueError("too many entries")
        found = {}
        for number in range(count):
            tag, kind, many, place = struct.unpack_from(f"{order}HHII", exif, at + 2 + 12 * number)
            if kind not in _ITEM:
                continue
            item = _ITEM[kind]
            size = many * struct.calcsize(f"<{item}")
            begin = at + 10 + 12 * number if size <= 4 else place
            data = exif[begin : begin + size]
            if len(data) != size:
                continue  # It points beyond the end; the others may be good.
            if order == ">" and item != "s":
                numbers = struct.unpack(f">{many * len(item)}{item[0]}", data)
                data = struct.pack(f"<{many * len(item)}{item[0]}", *numbers)
            found[tag] = Entry(kind, many, data)
    except struct.error as error:
        raise ValueError("a directory is cut off") from error
    return found


def text(value: str) -> Entry:
    """A text."""
    data = value.encode("utf-8", "replace") + b"\0"
    return Entry(2, len(data), data)


def numbers(kind: int, *values: int) -> Entry:
    """Whole numbers of a type: 1 bytes, 3 shorts, 4 longs."""
    return Entry(kind, len(values), struct.pack(f"<{len(values)}{_ITEM[kind]}", *values))


def packed(directory: Directory, at: int) -> bytes:
    """A directory as it stands ``at`` bytes (an even number) into a little-endian TIFF structure, with its values."""
    rows, values, place = [], b"", at + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        data = entry.data.ljust(4, b"\0")
        if len(entry.data) > 4:
            data = struct.pack("<I", place + len(values))
            values += entry.data + b"\0" * (len(entry.data) % 2)
        rows.append(struct.pack("<HHI", tag, entry.kind, entry.count) + data)
    return struct.pack("<H", len(rows)) + b"".join(rows) + b"\0\0\0\0" + values


def write_directories(main: Directory, shot: Directory, place: Directory) -> bytes:
    """The inverse of :func:`read_directories`."""
    whole = dict(main)
    inner = {pointer: part for pointer, part in ((EXIF, shot), (GPS, place)) if part}
    whole.update({pointer: numbers(4, 0) for pointer in inner})
    at = 8 + len(packed(whole, 8))
    for pointer, part in inner.items():
        whole[pointer] = numbers(4, at)
        at += len(packed(part, at))
    out = b"II*\0" + struct.pack("<I", 8) + packed(whole, 8)
    for part in inner.values():
        out += packed(part, len(out))
    return out
