"""What a stranger sent, before anything else looks at it: bytes that a photo's header vouches for, within limits."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.core.errors import InputError
from pipelines.core.types import Photo
from pipelines.images.read import scan

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "MPO": ".jpg"}
"""Formats whose header gives the size without decoding, so that a decompression bomb is seen before it goes off."""
_NAME = 120


@dataclass(frozen=True)
class Limits:
    """What a client may send and wait for.

    Attributes:
        bytes: of a photo's file.
        pixels: of a photo.
        receive: seconds in which its last byte must have come.
        answer: seconds until it must have been localised, waiting included.
        clients: photos that are received, wait or are worked on at once; the next ones are turned away.
        head: seconds in which the head of a request must have come.
    """

    bytes: int = 30 << 20
    pixels: int = 100_000_000
    receive: float = 20.0
    answer: float = 60.0
    clients: int = 16
    head: float = 10.0


class RefusedError(Exception):
    """A photo that is not looked at any further: HTTP status, what is wrong with it, what to try."""

    def __init__(self, status: int, what: str, try_: str = "") -> None:
        self.status, self.what, self.try_ = status, what, try_
        super().__init__(what)


def shown_name(name: str) -> str:
    """A client's name for its photo, for answers and logs alone: no folders, no control characters, not too long."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(char for char in last if char.isprintable())[:_NAME] or "photo"


@contextmanager
def received(data: bytes, name: str, limits: Limits) -> Iterator[Photo]:
    """A photo of these bytes for the time of the context: in a folder of its own, under a name of ours, then gone.

    Args:
        data: what was sent, within ``limits.bytes``.
        name: what the answer calls it; see :func:`shown_name`.

    Raises:
        RefusedError: it is no photo, not whole, or too large.
    """
    suffix = _SUFFIXES[_format(data, limits)]
    with tempfile.TemporaryDirectory(prefix="recon-query-") as folder:
        path = Path(folder) / f"query{suffix}"
        path.write_bytes(data)
        try:
            photos, refused = scan([path], threads=1)
        except InputError as error:
            raise RefusedError(422, error.why or error.what, error.try_) from error
        if not photos:
            raise RefusedError(
                422, refused[0].why if refused else "it cannot be read", refused[0].try_ if refused else ""
            )
        yield replace(photos[0], name=shown_name(name))


def _format(data: bytes, limits: Limits) -> str:
    from PIL import Image

    again = "send a JPEG, PNG, WebP or TIFF photo"
    if not data:
        raise RefusedError(422, "the request has no body", again)
    try:
        with Image.open(io.BytesIO(data), formats=tuple(_SUFFIXES)) as picture:
            kind, (width, height) = str(picture.format), picture.size
    except Exception as error:  # a hostile header may raise anything
        raise RefusedError(422, "it is no photo that can be read", again) from error
    if width * height > limits.pixels:
        raise RefusedError(
            413, f"it has {width} x {height} pixels, and {limits.pixels:,} are allowed", "a smaller copy of the photo"
        )
    return kind
