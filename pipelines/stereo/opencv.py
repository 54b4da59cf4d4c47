"""OpenCV's semi-global block matching, with and without its weighted-least-squares filter, as the peer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.depth.pair import Disparities

_BLOCK = 5
_STEP = 16
"""SGBM tries a multiple of this many disparities."""


def sgbm(left: NDArray[np.uint8], right: NDArray[np.uint8], start: int, count: int, *, wls: bool) -> Disparities:
    """Disparities by ``cv2.StereoSGBM`` over all eight paths, with the parameters of OpenCV's own sample.

    Args:
        left, right: (H,W,3) uint8 RGB.
        start, count: smallest disparity, and how many are tried at least.
        wls: smooth and fill by ``cv2.ximgproc``'s filter. Without it, unknown values are NaN.
    """
    import cv2

    matcher = cv2.StereoSGBM.create(
        minDisparity=start, numDisparities=-(-count // _STEP) * _STEP, blockSize=_BLOCK, P1=8 * 3 * _BLOCK**2,
        P2=32 * 3 * _BLOCK**2, disp12MaxDiff=-1 if wls else 1, preFilterCap=63, uniquenessRatio=0 if wls else 10,
        speckleWindowSize=0 if wls else 100, speckleRange=2, mode=cv2.StereoSGBM_MODE_HH,
    )  # fmt: skip
    found = matcher.compute(left, right)
    if not wls:
        values = found.astype(np.float32) / 16
        measured = found >= 16 * start
        return Disparities(np.where(measured, values, np.nan).astype(np.float32), measured, measured.astype(np.float32))
    other = cv2.ximgproc.createRightMatcher(matcher).compute(right, left)
    smoother = cv2.ximgproc.createDisparityWLSFilter(matcher)
    smoother.setLambda(8000.0)
    smoother.setSigmaColor(1.5)
    smooth = np.asarray(smoother.filter(found, left, disparity_map_right=other), np.float64) / 16
    confidence = np.asarray(smoother.getConfidenceMap(), np.float64) / 255
    return Disparities(smooth.astype(np.float32), confidence > 0, confidence.astype(np.float32))
