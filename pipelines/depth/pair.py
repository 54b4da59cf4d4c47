"""A rectified pair to disparities: cost volume, semi-global matching, what both pictures agree on, filling.

The numbers below were chosen on made pairs (:mod:`descriptors.datasets.stereo_pairs`) and sample_data alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.headers import read_header
from pipelines.core.errors import ConfigError
from pipelines.depth import filters
from pipelines.depth.cost import CostFunction
from pipelines.depth.dense_features import dense_describer
from pipelines.depth.sgm import Penalties, Winners, aggregate, winners, winners_from_right

CENSUS = "census"
_SPECKLE = 60
"""Pixels of a piece of surface at least, at 640 × 480 px; in proportion at other sizes."""
_REACH, _SPREAD = 6, 10.0
"""Half window (px) and grey values of the weighted median at the end."""
_FAR_REACH, _FAR_SPREAD = 20, 5.0
"""Of the one that fills what is mismatched."""


@dataclass(frozen=True)
class Setting:
    """What suits a matching cost.

    Attributes:
        census: share of census in it.
        gain: of the cosine, see :class:`pipelines.depth.cost.CostFunction`.
        outside: cost of what lies outside the second picture.
        penalties: of semi-global matching.
    """

    census: float = 0.7
    gain: float = 0.8
    outside: int = 70
    penalties: Penalties = field(default_factory=lambda: Penalties(30, 300, 6.0, 40))


_SETTINGS = {CENSUS: Setting(census=1.0), "swift-stereo": Setting(census=0.0, gain=0.5)}
"""Of costs that were looked at by themselves; all others have the same."""


def setting(cost: str) -> Setting:
    """Of a cost by its name; weights of the user's own have that of their network."""
    name = read_header(Path(cost)).get("network", "") if cost.endswith(".safetensors") else cost
    return _SETTINGS.get(name, Setting())


@dataclass(frozen=True)
class Disparities:
    """What is known of the left picture of a rectified pair.

    Attributes:
        values: (H,W) float32 x_left - x_right, filled everywhere.
        measured: (H,W) bool, where both pictures agree; elsewhere the value was filled in.
        confidence: (H,W) float32 in 0..1, 0 where filled.
    """

    values: NDArray[np.float32]
    measured: NDArray[np.bool_]
    confidence: NDArray[np.float32]


def cost_function(cost: str) -> CostFunction:
    """The matching cost of a name: ``census``, or a descriptor; all but ``swift-stereo`` are mixed with census.

    Raises:
        DescriptorError: no descriptor has the name, or its weights are missing.
        ConfigError: a metric network.
    """
    suits = setting(cost)
    describer = None if cost == CENSUS else dense_describer(cost)
    return CostFunction(describer, suits.census, suits.gain, suits.outside)


def match_pair(left: NDArray[np.uint8], right: NDArray[np.uint8], start: int, count: int, cost: str) -> Disparities:
    """Disparities of a rectified pair.

    Args:
        left, right: (H,W,3) uint8 RGB of one size.
        start, count: smallest disparity, and how many are tried.
        cost: see :func:`cost_function`.

    Raises:
        ConfigError: fewer than two disparities, or more than the picture has columns.
        DescriptorError: see :func:`cost_function`.
    """
    if not 2 <= count <= left.shape[1]:
        raise ConfigError(
            f"{count} disparities cannot be tried",
            f"the pictures are {left.shape[1]} px wide",
            f"a range of 2 to {left.shape[1]} px",
        )
    function = cost_function(cost)
    ours, theirs = (function.features(_gray(side)) for side in (left, right))
    volume = function.shifted(ours, theirs, start, count)
    del ours, theirs
    sums = aggregate(volume, left, setting(cost).penalties)
    del volume
    best, other = winners(sums), winners_from_right_of(sums, start)
    del sums
    return _finish(best, other, left, start, count)


def winners_from_right_of(sums: NDArray[np.uint16], start: int) -> NDArray[np.float32]:
    """Disparities (H,W) of the second picture, of a volume whose first candidate is the disparity ``start``.

    Pixel x of the second picture meets candidate k at x + start + k of the first.
    """
    if start == 0:
        return winners_from_right(sums)
    moved = np.full(sums.shape, 65535, np.uint16)
    if start > 0:
        moved[:, :-start] = sums[:, start:]
    else:
        moved[:, -start:] = sums[:, :start]
    return winners_from_right(moved) + np.float32(start)


def _gray(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def _finish(best: Winners, other: NDArray[np.float32], guide: NDArray[np.uint8], start: int, count: int) -> Disparities:
    found = best.index + np.float32(start)
    agreed = filters.left_right(found, other)
    least = max(4, round(_SPECKLE * found.size / (640 * 480)))
    measured = filters.speckles(found, agreed, least=least, step=1.0)
    if not measured.any():
        return Disparities(found, measured, np.zeros_like(found))
    # What is merely mismatched looks like its surface; what is occluded belongs to the surface behind.
    holes = ~measured & filters.mismatched(other, start, count)
    kept = np.where(measured, found, np.nan).astype(np.float32)
    kept = filters.weighted_median(kept, guide, reach=_FAR_REACH, spread=_FAR_SPREAD, where=holes)
    filled = filters.fill_background(kept, np.isfinite(kept))
    filled = filters.weighted_median(filled, guide, reach=_REACH, spread=_SPREAD)
    confidence = np.where(measured, np.clip(best.margin / 0.5, 0, 1), 0).astype(np.float32)
    return Disparities(filters.median(filled, 5), measured, confidence)
