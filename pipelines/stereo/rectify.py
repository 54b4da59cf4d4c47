"""Pictures whose rows correspond, from any calibrated pair; and where sparse points come to lie in them.

Source: Fusiello, Trucco and Verri, A compact algorithm for rectification of stereo pairs, MVA 2000. The new x axis is
the baseline whichever way it points, so that cameras one above the other give pictures that lie on their side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError, NoModelError
from pipelines.stereo.calib import Calibration, Lens, Matrix

_FORWARD = np.cos(np.radians(40.0))
"""Baselines closer to the viewing direction than 40° would stretch the pictures beyond use."""
_LARGEST = 1.3
"""Sides of a rectified picture in sides of the photo, at most."""


@dataclass(frozen=True)
class Side:
    """How one picture is rectified.

    Attributes:
        lens: of the photo at working size.
        R: (3,3) rectified from camera.
        K: (3,3) of the rectified picture.
    """

    lens: Lens
    R: Matrix
    K: Matrix

    def points(self, xy: NDArray) -> NDArray[np.float64]:
        """(N,2) pixels of the photo to pixels of the rectified picture."""
        import cv2

        if not len(xy):
            return np.zeros((0, 2))
        given = np.asarray(xy, np.float64).reshape(-1, 1, 2)
        placed = cv2.undistortPoints(given, self.lens.K, self.lens.coefficients, R=self.R, P=self.K)
        return np.asarray(placed, np.float64).reshape(-1, 2)

    def picture(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The rectified picture (H,W,3) of ``size`` (width, height), and where (H,W) the photo has pixels for it."""
        import cv2

        x, y = cv2.initUndistortRectifyMap(self.lens.K, self.lens.coefficients, self.R, self.K, size, cv2.CV_32FC1)  # type: ignore[call-overload]
        height, width = pixels.shape[:2]
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        return np.asarray(cv2.remap(pixels, x, y, cv2.INTER_LINEAR), np.uint8), inside


@dataclass(frozen=True)
class Rectification:
    """A pair made rectified.

    Attributes:
        left, right: how either picture is made.
        size: (width, height) of both.
        calibration: of the rectified pair.
    """

    left: Side
    right: Side
    size: tuple[int, int]
    calibration: Calibration


def rectification(calibration: Calibration, size: tuple[int, int]) -> Rectification:
    """How to rectify photos of ``size`` (width, height) px.

    Raises:
        InputError: the right camera stands to the left of the left one: the photos are swapped.
        NoModelError: the camera moved along its viewing direction.
    """
    if calibration.rectified:
        sides = [Side(lens, np.eye(3), lens.K) for lens in (calibration.left, calibration.right)]
        return Rectification(sides[0], sides[1], size, calibration)
    centre = -calibration.R.T @ calibration.t
    along = centre / np.linalg.norm(centre)
    ahead = np.array([0, 0, 1.0]) + calibration.R[2]
    ahead /= np.linalg.norm(ahead)
    if abs(along @ ahead) > _FORWARD:
        raise NoModelError(
            "The photos cannot be rectified",
            "the camera moved forwards, along its viewing direction, so that the epipoles lie in the pictures",
            "two photos taken side by side, or recon sfm and recon dense for a walk",
        )
    if along[0] < -0.7:
        raise InputError(
            "The left and the right photo are swapped",
            "by the calibration or the matches, the second camera stands to the left of the first",
            "give the photos in the other order",
        )
    down = np.cross(ahead, along)
    down /= np.linalg.norm(down)
    R_left = np.stack([along, down, np.cross(along, down)])
    R_right = R_left @ calibration.R.T
    focal = float(np.mean([lens.K[i, i] for lens in (calibration.left, calibration.right) for i in (0, 1)]))
    plain = np.diag([focal, focal, 1.0])
    boxes = []
    for lens, R in ((calibration.left, R_left), (calibration.right, R_right)):
        corners = Side(lens, R, plain).points(_rim(size))
        boxes.append((corners.min(axis=0), corners.max(axis=0)))
    wide, high = np.minimum(boxes[0][1] - boxes[0][0] + 1, _LARGEST * max(size)).astype(int).tolist()
    middles = [0.5 * (low + top) for low, top in boxes]
    K_left, K_right = plain.copy(), plain.copy()
    K_left[:2, 2] = (wide - 1) / 2 - middles[0][0], (high - 1) / 2 - middles[0][1]
    K_right[:2, 2] = (wide - 1) / 2 - middles[1][0], K_left[1, 2]
    t = np.array([-np.linalg.norm(centre), 0, 0])
    made = replace(
        calibration, left=Lens(K_left), right=Lens(K_right), R=np.eye(3), t=t, rectified=True, size=(wide, high),
        disparities=0,
    )  # fmt: skip
    left, right = Side(calibration.left, R_left, K_left), Side(calibration.right, R_right, K_right)
    return Rectification(left, right, (wide, high), made)


def resized(calibration: Calibration, scale: tuple[float, float]) -> Calibration:
    """The calibration of pictures shrunk by ``scale`` (x, y): full-resolution pixels per pixel."""
    if scale == (1.0, 1.0):
        return calibration
    shrink = np.array([[1 / scale[0], 0, 0.5 / scale[0] - 0.5], [0, 1 / scale[1], 0.5 / scale[1] - 0.5], [0, 0, 1]])
    left, right = (Lens(shrink @ lens.K, lens.distortion) for lens in (calibration.left, calibration.right))
    disparities = int(np.ceil(calibration.disparities / scale[0]))
    return replace(calibration, left=left, right=right, size=None, disparities=disparities)


def _rim(size: tuple[int, int]) -> NDArray[np.float64]:
    """Points along the border of a picture."""
    x, y = np.linspace(0, size[0] - 1, 9), np.linspace(0, size[1] - 1, 9)
    sides = [np.c_[x, 0 * x], np.c_[x, 0 * x + size[1] - 1], np.c_[0 * y, y], np.c_[0 * y + size[0] - 1, y]]
    return np.concatenate(sides)
