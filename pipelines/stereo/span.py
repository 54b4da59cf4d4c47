"""Which disparities are worth trying, and whether the photos fit their calibration: told by sparse matches."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError, InputError

_FEWEST = 12
_ROW = 2.0
"""Largest vertical distance of matches of a rectified pair, px."""
_WIDER = 0.2
_MARGIN = 6


@dataclass(frozen=True)
class Span:
    """Disparities ``start`` to ``start + count - 1``, px, and where they are from."""

    start: int
    count: int
    source: str


def parse_span(text: str) -> tuple[int, int] | None:
    """``MIN:MAX`` or ``MAX``, or None for an empty text.

    Raises:
        ConfigError: anything else, or a range of less than two disparities.
    """
    if not text:
        return None
    given = re.fullmatch(r"(?:(-?\d+):)?(-?\d+)", text.strip())
    low, high = (int(given[1] or 0), int(given[2])) if given else (0, 0)
    if not given or high - low < 1:
        raise ConfigError(f"The disparities {text!r} cannot be used", "MAX or MIN:MAX in px are needed", "0:64")
    return low, high


def check_rows(left: NDArray[np.float64], right: NDArray[np.float64], inliers: NDArray[np.bool_], source: str) -> None:
    """Check that matches (N,2), (N,2) in rectified pictures lie in the same rows, and not on the wrong side.

    Args:
        left, right: places in the two rectified pictures.
        inliers: (N,) which of them agree with one epipolar geometry, whatever it is.
        source: what says that the pictures are rectified.

    Raises:
        InputError: the rows do not agree.
    """
    down = right[inliers, 1] - left[inliers, 1]
    if len(down) >= _FEWEST and (np.abs(down) <= _ROW).mean() < 0.5:
        raise InputError(
            f"The photos do not fit the calibration ({source})",
            f"matching points should lie in the same row, but lie {np.median(np.abs(down)):.1f} px apart",
            "the calibration of these photos, or no --calib at all to have it estimated",
        )


def span_of_matches(left: NDArray[np.float64], right: NDArray[np.float64], width: int, *, offset: float) -> Span:
    """The disparities of sparse matches of a rectified pair, and some more to either side.

    Args:
        left, right: (N,2) places in the two rectified pictures.
        width: of the pictures.
        offset: disparity + offset is above 0 in front of the cameras.

    Raises:
        InputError: by their disparities the photos are swapped, or have no baseline.
    """
    level = np.abs(left[:, 1] - right[:, 1]) <= _ROW
    found = (left[:, 0] - right[:, 0])[level]
    if len(found) < _FEWEST:
        return Span(int(np.ceil(-offset)), max(16, width // 4), "a quarter of the width: too few matches tell")
    if np.median(found + offset) < -1:
        raise InputError(
            "The left and the right photo are swapped",
            f"matching points lie {-np.median(found + offset):.0f} px to the wrong side",
            "give the photos in the other order",
        )
    low, high = np.percentile(found, [1, 99])
    if high - low < 0.5 and abs(low + offset) < 0.5:
        raise InputError(
            "The photos have no parallax", "all matching points lie in the same places", "two photos from two places"
        )
    wider = _WIDER * (high - low) + _MARGIN
    first = int(np.floor(max(low - wider, -offset)))
    last = int(np.ceil(min(high + 1.5 * wider, first + width - 1)))
    return Span(first, max(last - first + 1, 8), f"{len(found):,} sparse matches")
