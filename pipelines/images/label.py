"""Names of photos and objects in pictures, in whatever script they are written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PAD = 4
_LONGEST = 40

Tint = tuple[int, int, int]


def cut(name: str, longest: int = _LONGEST) -> str:
    """A name, of a long one its end: it tells one from the other."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def label(picture: NDArray[np.uint8], text: str, middle: Sequence[float], size: int, tint: Tint, ground: Tint) -> None:
    """Write a line of text into a (H,W,3) picture, on a ground of its own.

    Args:
        text: in any script; OpenCV's font has them, Pillow's own has only ASCII.
        middle: x, y where its centre lies, px; held within the picture.
        size: of the letters, px.
        tint, ground: colours of letters and ground.
    """
    import cv2

    text = text.encode("utf-8", "replace").decode("utf-8")  # a file's name may be no Unicode
    font = cv2.FontFace("sans")
    left, top, width, height = cv2.getTextSize(picture.shape[1::-1], text, (0, 0), font, size)
    x = round(float(np.clip(middle[0] - width / 2, _PAD, max(_PAD, picture.shape[1] - width - _PAD))))
    y = round(float(np.clip(middle[1] - height / 2, _PAD, max(_PAD, picture.shape[0] - height - _PAD))))
    cv2.rectangle(picture, (x - _PAD, y - _PAD), (x + width + _PAD, y + height + _PAD), ground, -1)
    cv2.putText(picture, text, (x - left, y - top), tint, font, size)
