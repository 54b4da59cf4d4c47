"""How far matches lie from the geometry of their pair: more of them are found by it, and chance is told by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipelines.core.maps import TwoView

_BY_HOMOGRAPHY = {"PLANAR", "PANORAMIC", "PLANAR_OR_PANORAMIC"}
_BY_EPIPOLAR_LINE = {"CALIBRATED", "UNCALIBRATED"}


def residuals(
    view: TwoView, xy: tuple[NDArray[np.float32], NDArray[np.float32]], matches: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Distance (K,) in px of matches (K,2) from the geometry of a pair; infinite where it has none.

    Args:
        view: geometry of the photos a and b.
        xy: (N,2) and (M,2) keypoint centres in a and b, px.
        matches: (K,2) indices into them.

    Returns:
        Sampson distance, or the distance from the transferred point, the larger one of both ways.
    """
    a, b = (np.c_[points[index].astype(np.float64), np.ones(len(matches))]
            for points, index in zip(xy, matches.T, strict=True))  # fmt: skip
    if view.config in _BY_HOMOGRAPHY and view.homography is not None:
        return _transfer_error(a, b, view.homography)
    if view.config in _BY_EPIPOLAR_LINE and view.fundamental is not None:
        return sampson_error(a, b, view.fundamental)
    return np.full(len(matches), np.inf)


def sampson_error(
    a: NDArray[np.float64], b: NDArray[np.float64], fundamental: NDArray[np.float64]
) -> NDArray[np.float64]:
    """First-order distance (K,) in px of homogeneous points (K,3), (K,3) from x_b^T F x_a = 0.

    Source: Hartley and Zisserman, Multiple View Geometry, 11.4.3.
    """
    line_b, line_a = a @ fundamental.T, b @ fundamental
    gradient = np.sqrt((line_b[:, :2] ** 2).sum(axis=1) + (line_a[:, :2] ** 2).sum(axis=1))
    return np.abs((b * line_b).sum(axis=1)) / np.maximum(gradient, 1e-300)


def _transfer_error(
    a: NDArray[np.float64], b: NDArray[np.float64], homography: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Larger of the distances (K,) in px between a point and the other one carried over."""

    def apart(start: NDArray[np.float64], end: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        carried = start @ matrix.T
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = np.linalg.norm(carried[:, :2] / carried[:, 2:] - end[:, :2], axis=1)
        return np.where(np.isfinite(distance), distance, np.inf)

    return np.maximum(apart(a, b, homography), apart(b, a, np.asarray(np.linalg.inv(homography), np.float64)))
