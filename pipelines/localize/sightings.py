"""Points of a map as a photo shows them, and how exactly: what a pose is fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import Model
from pipelines.core.types import Features
from pipelines.images.read import pixel_size

_COARSE = 2.0
"""Scale, px, of keypoints whose place is 1.4 times as uncertain as that of the smallest: in sample_data and et."""
_ROUGH = 4.0
"""Times the variance of places measured by grey values that those of keypoints have; 2 to 13 in maps."""
_FAR = 1e-6
"""Of a point's information, what is taken to be known along its ray however small its parallax."""


@dataclass(frozen=True)
class Sightings:
    """Points of the map as a photo shows them.

    Attributes:
        xy: (N,2) pixels.
        xyz: (N,3) points in the world.
        variance: (N,) of a keypoint's place in each direction, up to a factor that all share.
        covariance: (N,3,3) of the points, up to the same factor.
    """

    xy: NDArray[np.float64]
    xyz: NDArray[np.float64]
    variance: NDArray[np.float64]
    covariance: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, rows: NDArray) -> Sightings:
        return Sightings(self.xy[rows], self.xyz[rows], self.variance[rows], self.covariance[rows])

    def measured_anew(
        self, rows: NDArray[np.integer], xy: NDArray[np.floating], good: NDArray[np.bool_], pixel: float
    ) -> Sightings:
        """The same with the places ``xy`` of some, ``rows``, of which the ``good`` ones are as exact as the map's.

        Args:
            pixel: see :func:`sightings`.
        """
        places, variance = self.xy.copy(), _ROUGH * self.variance
        places[rows[good]], variance[rows[good]] = xy[good], pixel**2
        return Sightings(places, self.xyz, variance, self.covariance)

    def __add__(self, more: Sightings) -> Sightings:
        mine, others = ((seen.xy, seen.xyz, seen.variance, seen.covariance) for seen in (self, more))
        return Sightings(*(np.concatenate(pair) for pair in zip(mine, others, strict=True)))


def sightings(
    features: Features,
    keypoints: NDArray[np.integer],
    model: Model,
    points: NDArray[np.integer],
    *,
    pixel: float,
    max_side: int,
) -> Sightings:
    """Keypoints (N,) of a photo with the points (N,) of a model that they show.

    Args:
        pixel: size of a pixel of the picture that the keypoints were found in, px of the photo.
        max_side: longer side at most of the pictures that the map's keypoints were found in.
    """
    frames = features.frames[keypoints]
    scale = np.sqrt(np.abs(np.linalg.det(frames[:, :, :2].astype(np.float64))))
    pixels = np.array([pixel_size(camera.width, camera.height, max_side) for camera in model.cameras])
    return Sightings(
        frames[:, :, 2].astype(np.float64),
        model.xyz[points],
        keypoint_variance(scale, pixel),
        point_covariances(model, points, pixels),
    )


def keypoint_variance(scale: NDArray[np.floating], pixel: float) -> NDArray[np.float64]:
    """(N,) variance of keypoints' places, px^2 up to a factor; 1 for one of 2 px.

    Args:
        scale: (N,) their sigma, px.
        pixel: size of a pixel of the picture that they were found in, px of the photo.
    """
    return pixel**2 * (1 + (np.asarray(scale, np.float64) / (_COARSE * pixel)) ** 2) / 2


def point_covariances(model: Model, points: NDArray[np.integer], pixel: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,3,3) covariances of points of a model, each triangulated from keypoints that are exact to a pixel.

    Cameras are taken as exact and distortion is left out.

    Args:
        points: (N,) indices.
        pixel: (I,) size of a pixel of the picture that keypoints were found in, px of each photo.
    """
    begin, end = (np.searchsorted(model.obs_point, points, side) for side in ("left", "right"))
    counts = end - begin
    row = np.repeat(np.arange(len(points)), counts)
    at = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)
    image = model.obs_image[at]
    rotation, shift = model.cam_from_world[image, :, :3], model.cam_from_world[image, :, 3]
    x = np.einsum("nij,nj->ni", rotation, model.xyz[points][row]) + shift
    focal = np.array([camera.params[0] for camera in model.cameras]) / pixel
    jacobian = focal[image, None, None] * by_place(x) @ rotation
    information = np.zeros((len(points), 3, 3))
    np.add.at(information, row, np.einsum("nij,nik->njk", jacobian, jacobian))
    information += _FAR * np.trace(information, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    return np.asarray(np.linalg.inv(information))


def by_place(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,2,3) derivative of (x/z, y/z) by x, y, z."""
    n, inverse = len(x), 1 / x[:, 2]
    made = np.zeros((n, 2, 3))
    made[:, 0, 0] = made[:, 1, 1] = inverse
    made[:, :, 2] = -x[:, :2] * inverse[:, None] ** 2
    return made
