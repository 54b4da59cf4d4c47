"""Single photos → tracks: each photo is warped by random homographies and shown in another light, with exact truth."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from descriptors.datasets.scenes import DataError, read_grey
from descriptors.datasets.tracks import Tracks, concatenate
from descriptors.frames import angles, frames_from_keypoints, scales

SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class WarpRange:
    """How far a made view may be from its photo.

    Attributes:
        tilt: largest foreshortening along one direction (1 = none).
        zoom: largest scale change, up or down.
        rotation: largest turn in the image plane, radians.
        perspective: standard deviation of the change of scale across the photo.
        gamma: standard deviation of the logarithm of the exponent of the grey values.
        shade: standard deviation of the logarithm of a smooth light over the photo.
        blur: largest standard deviation of a Gaussian blur, px, on half the views.
        noise: largest standard deviation of grey noise, levels of 255.
        jpeg: lowest JPEG quality.
    """

    tilt: float = 2.5
    zoom: float = 1.8
    rotation: float = math.pi
    perspective: float = 0.15
    gamma: float = 0.5
    shade: float = 0.25
    blur: float = 2.0
    noise: float = 8.0
    jpeg: int = 15


def detect_dog(image: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """The strongest ``count`` DoG keypoints of a grey photo as similarity frames (N,2,3)."""
    keypoints = cv2.SIFT.create(nfeatures=count, enable_precise_upscale=True).detect(image, None)
    table = np.array([(*k.pt, k.size / 2, math.radians(k.angle)) for k in keypoints[:count]]).reshape(-1, 4)
    return frames_from_keypoints(table[:, :2], table[:, 2], table[:, 3])


def random_homography(shape: tuple[int, int], limits: WarpRange, rng: np.random.Generator) -> NDArray[np.float64]:
    """A 3×3 homography from a photo of ``shape`` (H,W) to a view of the same size; the centre stays near the centre."""
    height, width = shape
    turn, axis = rng.uniform(-limits.rotation, limits.rotation), rng.uniform(0, math.pi)
    squeeze = limits.tilt ** -rng.uniform(0, 1)
    zoom = limits.zoom ** rng.uniform(-1, 1) / math.sqrt(squeeze)
    along = _rotation(axis) @ np.diag([zoom * squeeze, zoom]) @ _rotation(-axis)
    linear = np.eye(3)
    linear[:2, :2] = _rotation(turn) @ along
    bend = np.eye(3)
    bend[2, :2] = rng.normal(0, limits.perspective, 2) / max(height, width)
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1.0]])
    shift = np.eye(3)
    shift[:2, 2] = rng.uniform(-0.1, 0.1, 2) * (width, height)
    return centre @ shift @ linear @ bend @ np.linalg.inv(centre)


def change_light(image: NDArray[np.uint8], limits: WarpRange, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The photo as another camera would have taken it at another hour: light, exposure, blur, noise, JPEG."""
    height, width = image.shape
    grey = image.astype(np.float32) / 255
    light = cv2.resize(rng.normal(0, limits.shade, (4, 5)).astype(np.float32), (width, height),
                       interpolation=cv2.INTER_CUBIC)  # fmt: skip
    grey = grey ** np.float32(math.exp(rng.normal(0, limits.gamma))) * np.exp(light)
    if rng.random() < 0.5 and limits.blur > 0:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.3, max(limits.blur, 0.31)))  # type: ignore[assignment]
    gain = rng.uniform(0.5, 1.3)
    grey = grey * np.float32(255 * gain) + rng.normal(0, limits.noise * rng.random() ** 2 + 1e-6, image.shape)
    stored = np.clip(grey, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.uniform(limits.jpeg, 90))
        stored = cv2.imdecode(
            cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE
        )  # type: ignore[assignment]
    return stored


def carry_frames(frames: NDArray[np.float32], homography: NDArray[np.float64]) -> NDArray[np.float32]:
    """Frames (N,2,3) carried by a homography: centres exactly, shapes by its affine map at the centre."""
    mapped = np.c_[frames[:, :, 2].astype(np.float64), np.ones(len(frames))] @ homography.T
    xy, w = mapped[:, :2] / mapped[:, 2:], mapped[:, 2]
    jacobian = (homography[None, :2, :2] - xy[:, :, None] * homography[None, 2:, :2]) / w[:, None, None]
    return np.concatenate([jacobian @ frames[:, :, :2], xy[:, :, None]], axis=2).astype(np.float32)


def project_frames(frames: NDArray[np.float32], homography: NDArray[np.float64]) -> NDArray[np.float32]:
    """Frames (N,2,3) carried by a homography: centres exactly, shape by the nearest similarity."""
    carried = carry_frames(frames, homography)
    return frames_from_keypoints(carried[:, :, 2], scales(carried), angles(carried))


def photo_tracks(
    image: NDArray[np.uint8], *, views: int, keypoints: int, limits: WarpRange, rng: np.random.Generator
) -> Tracks:
    """Tracks of one photo (H,W) uint8 and ``views`` made views of it.

    Where the detector fires again in a view, its own keypoint is the observation; elsewhere the carried frame is.
    """
    height, width = image.shape
    first = detect_dog(image, keypoints)
    images, frames, owner, point = [image], [first], [np.zeros(len(first), np.int32)], [np.arange(len(first))]
    for view in range(1, views + 1):
        homography = random_homography(image.shape, limits, rng)
        warped = cv2.warpPerspective(image, homography, (width, height), flags=cv2.INTER_AREA,
                                     borderMode=cv2.BORDER_REFLECT_101)  # fmt: skip
        warped = change_light(warped, limits, rng)  # type: ignore[arg-type]
        carried = project_frames(first, homography)
        x, y = carried[:, 0, 2], carried[:, 1, 2]
        inside = np.flatnonzero((x > 4) & (y > 4) & (x < width - 5) & (y < height - 5) & (scales(carried) > 0.8))
        images.append(warped)
        frames.append(_detected_again(carried[inside], detect_dog(warped, 2 * keypoints)))
        owner.append(np.full(len(inside), view, np.int32))
        point.append(inside)
    points = np.concatenate(point)
    seen = np.bincount(points, minlength=len(first))
    order = np.argsort(points, kind="stable")
    order = order[seen[points[order]] >= 2]
    kept = np.flatnonzero(seen >= 2)
    observed = np.concatenate(frames)[order]
    place = np.zeros((len(kept), 3))
    place[:, :2] = first[kept, :, 2]
    rays = np.zeros((len(order), 3), np.float32)
    rays[:, 2] = 1
    return Tracks(
        images=tuple(images),
        obs_image=np.concatenate(owner)[order],
        frames=observed,
        rays=rays,
        start=np.concatenate([[0], np.cumsum(seen[kept])]).astype(np.int64),
        place=place,
        radius=scales(first[kept]).astype(np.float64),
        group=np.zeros(len(kept), np.int32),
    )


def load_photos(paths: Sequence[Path], *, views: int, keypoints: int, limits: WarpRange, seed: int) -> Tracks:
    """Tracks of single photos; the same photos and seed give the same views.

    Raises:
        DataError: no photo was given, one cannot be read, or none has a keypoint that a view of it shows.
    """
    if not paths:
        raise DataError("There is no photo to warp.")

    def one(number: int) -> Tracks:
        image = _at_most(read_grey(paths[number]), 640)
        rng = np.random.default_rng([seed, number])
        return photo_tracks(image, views=views, keypoints=keypoints, limits=limits, rng=rng)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [tracks for tracks in pool.map(one, range(len(paths))) if len(tracks)]
    if not found:
        raise DataError(f"None of the {len(paths)} photos has a keypoint. Give photos with something to see in them.")
    return concatenate(found)


def _at_most(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    scale = side / max(image.shape)
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _detected_again(carried: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Carried frames, each replaced by a found one within half a sigma, a factor 1.4 of scale and half a radian."""
    if not len(found) or not len(carried):
        return carried
    result = carried.copy()
    near = cKDTree(found[:, :, 2]).query(carried[:, :, 2], k=4)[1]
    for column in near.T[::-1]:
        other = found[np.minimum(column, len(found) - 1)]
        apart = np.linalg.norm(other[:, :, 2] - carried[:, :, 2], axis=1) / scales(carried)
        bigger = np.abs(np.log(scales(other) / scales(carried)))
        turned = np.abs(np.angle(np.exp(1j * (angles(other) - angles(carried)))))
        same = (apart < 0.5) & (bigger < math.log(1.4)) & (turned < 0.5)
        result[same] = other[same]
    return result


def _rotation(angle: float) -> NDArray[np.float64]:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
