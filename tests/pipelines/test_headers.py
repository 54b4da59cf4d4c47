"""Heads of JPEG and PNG files, and EXIF, against Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Pil

from pipelines.images.headers import (
    EXIF,
    GPS,
    numbers,
    read_directories,
    read_head,
    text,
    write_directories,
)

PICTURE = Pil.fromarray(np.full((30, 50, 3), 90, np.uint8))


def saved(picture: Pil.Image, kind: str, **options: object) -> memoryview:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return memoryview(stream.getvalue())


@pytest.mark.parametrize("endian", ["<", ">"])
def test_directories_are_read_as_pillow_writes_them(endian):
    exif = Pil.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112], exif[0x011A] = "Maker", 6, 72.0
    exif.get_ifd(EXIF).update({0x829A: 0.004, 0x9003: "2020:01:02 03:04:05", 0x9000: b"0232"})
    exif.get_ifd(GPS).update({1: "S", 2: (33.0, 51.5, 36.25), 5: 0})
    head = read_head(saved(PICTURE, "JPEG", exif=exif))
    assert head is not None and (head.width, head.height) == (50, 30)
    main, shot, place = read_directories(head.exif)
    assert (main[0x010F].value, main[0x0112].value, main[0x011A].value) == ("Maker", 6, 72.0)
    assert (shot[0x829A].value, shot[0x9003].value, shot[0x9000].value) == (0.004, "2020:01:02 03:04:05", b"0232")
    assert place[2].value == (33.0, 51.5, 36.25) and place[1].value == "S"


def test_directories_are_written_so_that_pillow_reads_them():
    main, shot = {0x0110: text("Ä model"), 0x0112: numbers(3, 1)}, {0xA002: numbers(4, 123_456)}
    place = {0: numbers(1, 2, 3, 0, 0)}
    data = write_directories(main, shot, place)
    back = read_directories(data)
    assert [{tag: part[tag] for tag in part if tag not in (EXIF, GPS)} for part in back] == [main, shot, place]
    exif = Pil.Exif()
    exif.load(data)
    assert exif[0x0112] == 1 and exif.get_ifd(EXIF)[0xA002] == 123_456 and exif.get_ifd(GPS)[0] == b"\2\3\0\0"
    assert write_directories(main, {}, {}) == write_directories(*read_directories(write_directories(main, {}, {})))


def test_what_is_damaged_is_told():
    data = write_directories({0x0110: text("a model of some length")}, {}, {})
    for broken in (b"", b"II*\0", data[:12], b"XX" + data[2:]):
        with pytest.raises(ValueError, match=r"cut off|no TIFF|too many"):
            read_directories(broken)
    assert 0x0110 not in read_directories(data[:-8])[0]  # its value lies beyond the end


def test_what_is_out_of_the_ordinary_is_left_to_pillow():
    assert read_head(saved(PICTURE, "PNG")) is not None
    assert read_head(saved(PICTURE.convert("L"), "PNG")) is not None
    assert read_head(saved(PICTURE.convert("RGBA"), "PNG")) is None
    assert read_head(saved(PICTURE, "PNG", exif=Pil.Exif().tobytes() or b"II*\0\x08\0\0\0\0\0\0\0\0\0")) is None
    assert read_head(saved(PICTURE, "WEBP")) is None
    turned = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
    assert read_head(saved(PICTURE, "JPEG", xmp=turned)) is None
    assert read_head(memoryview(b"\xff\xd8\xff")) is None and read_head(memoryview(b"")) is None
