"""Keypoint detectors by name: a grey picture in, local affine frames out.

All detectors speak the same scale: sigma is such that a patch of 6 sigma to each side of the keypoint is what the
descriptors of the field look at. Blob detectors (``dog``, ``hessian-affine``, ``akaze``) measure it; corner detectors
(``gftt``, ``harris``, ``fast``, ``orb``) take ORB's window of 31 pixels of the level they look at.

Frames are in pixels of the given picture, the centre of the top-left pixel at (0, 0). What the libraries give was
measured on blobs drawn at known places, and is put right here: OpenCV's SIFT lies 0.25 px to the right and below
unless told to enlarge precisely; ORB's upper levels lie up to 2 px to the left and above; AKAZE's lie too far in
where the photo's sides are not divisible by 2, 4 and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.frames import frames_from_keypoints, scale_frames
from pipelines.core.config import known_name
from pipelines.core.errors import ConfigError, InputError
from pipelines.features.hessian import hessian_blobs
from pipelines.features.shape import adapt, orient

_ORB_WINDOW = 31
_ORB_STEP = 1.2
_CORNER_SIGMA = _ORB_WINDOW / 12.0
# OpenCV advises windows of 5.0 sizes for AKAZE's keypoints where it advises 6.75 for SIFT's, whose size is 2 sigma.
_AKAZE_SIGMA = 0.5 * 5.0 / 6.75
# Corner detectors look at every half octave down to this many pixels of the shorter side.
_SMALLEST_LEVEL = 48
_FEWEST = 50
"""Keypoints a photo that a limit must leave: of fewer, too few agree for any product, whatever the photos show."""


@dataclass(frozen=True)
class DetectorConfig:
    """Which keypoints, and how many.

    Attributes:
        name: one of :func:`names`.
        max_keypoints: of more, the ones with the highest score are kept (corner detectors: on each scale its share).
            ``dog`` counts as COLMAP does: it keeps the largest, the level of scale at which the limit is reached as a
            whole if that takes no more than twice the limit, and a point with several orientations counts once.
        threshold: least contrast or response, in the detector's own unit; None for its default, at which a photo of
            1.6 megapixels gives thousands. See the table at the end of this module.
        upright: all frames point up, for photos that were taken upright.
    """

    name: str = "dog"
    max_keypoints: int = 8192
    threshold: float | None = None
    upright: bool = False

    def __post_init__(self) -> None:
        known_name("detector", self.name, _TABLE, "--detector")
        if self.max_keypoints < _FEWEST:
            what = f"{self.max_keypoints} keypoints a photo are too few"
            raise ConfigError(
                what,
                f"with less than {_FEWEST} no two photos can be matched",
                "thousands, or leave --max-keypoints out",
            )
        if self.threshold is not None and not self.threshold > 0:
            raise ConfigError(
                f"A detector threshold of {self.threshold} cannot be used",
                "it must be over 0",
                f"{_TABLE[self.name].threshold}, the default of {self.name}",
            )


@dataclass(frozen=True)
class Detections:
    """Keypoints of one picture, strongest first.

    Attributes:
        frames: (N,2,3) float32, see :mod:`descriptors.frames`; no two are equal.
        scores: (N,) float32, larger is better; comparable within one picture and detector.
    """

    frames: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: NDArray) -> Detections:
        return Detections(self.frames[index], self.scores[index])


_Find = Callable[[NDArray[np.uint8], int, float, bool], Detections]
DescribedDetections = tuple[Detections, NDArray]
Fused = Callable[[NDArray[np.uint8], DetectorConfig], DescribedDetections]


def names() -> list[str]:
    """Names of all detectors, in the order of the table."""
    return list(_TABLE)


def detect(image: NDArray[np.uint8], config: DetectorConfig) -> Detections:
    """Keypoints of a grey picture, strongest first; none on a constant one.

    At most ``config.max_keypoints``, of which ``dog`` may give some twice, with another orientation.

    Args:
        image: (H,W) uint8.

    Raises:
        InputError: the picture has another shape or type.
    """
    row, image = _TABLE[config.name], _checked(image)
    if min(image.shape) < row.smallest:
        return _none()
    found = row.find(image, config.max_keypoints, config.threshold or row.threshold, config.upright)
    best = _ranking(found)
    return found[best if row.limits else best[: config.max_keypoints]]


def _checked(image: NDArray) -> NDArray[np.uint8]:
    if not isinstance(image, np.ndarray) or image.ndim != 2 or image.dtype != np.uint8 or image.size == 0:
        given = f"{getattr(image, 'shape', type(image).__name__)} {getattr(image, 'dtype', '')}".strip()
        raise InputError("Keypoints are detected in a grey picture (H, W) of uint8", f"given was {given}", "")
    return np.ascontiguousarray(image)


def _none() -> Detections:
    return Detections(np.empty((0, 2, 3), np.float32), np.empty(0, np.float32))


def _ranking(found: Detections) -> NDArray[np.intp]:
    """Indices of distinct frames, strongest first; ties by place, so that the order never depends on threads."""
    flat = found.frames.reshape(len(found), 6)
    order = np.lexsort([*flat.T[[0, 1, 3, 4, 2, 5]], -found.scores])
    _, first = np.unique(flat[order], axis=0, return_index=True)
    return order[np.sort(first)]


def _from_opencv(keypoints: Sequence[cv2.KeyPoint], sigma_of_size: float, upright: bool) -> Detections:
    """Frames of OpenCV's keypoints (N of them, N may be 0)."""
    rows = np.array([(*k.pt, k.size, k.angle, k.response) for k in keypoints], np.float64).reshape(-1, 5)
    angle = 0.0 if upright else np.deg2rad(rows[:, 3])
    return Detections(
        frames_from_keypoints(rows[:, :2], sigma_of_size * rows[:, 2], angle), rows[:, 4].astype(np.float32)
    )


def _sift(threshold: float) -> cv2.SIFT:
    return cv2.SIFT.create(contrastThreshold=threshold, enable_precise_upscale=True)


_OVERSHOOT = 2
"""How far ``dog`` may go beyond its limit for the sake of a whole level of scale; COLMAP goes as far as it takes. On
sample_data the last keypoints of a large level give a twentieth of the points for a twelfth of the time."""


def _largest(found: Sequence[cv2.KeyPoint], limit: int) -> NDArray[np.intp]:
    """Indices of the largest DoG keypoints, whole levels of scale: they are found again more often than the ones of
    most contrast. Of a last level that is too large, the ones of most contrast.

    On recon's training scene monstree (23 photos of foliage, 4,096 keypoints) the largest gave 25,553 observations in
    the map, the strongest 16,767.
    """
    rows = np.array([(k.size, *k.pt, k.octave, k.response) for k in found], np.float64).reshape(-1, 5)
    packed = rows[:, 3].astype(np.int64)
    octave, layer = ((packed & 255) ^ 128) - 128, (packed >> 8) & 255
    _, place, owner = np.unique(rows[:, :3], axis=0, return_index=True, return_inverse=True)
    level, contrast = (octave * 64 + layer)[place], rows[place, 4]
    order = np.lexsort([-contrast, -level])
    ranked = level[order]
    until = np.searchsorted(-ranked, -ranked[:limit][-1:], side="right")  # the whole level that the limit falls into
    keep = np.zeros(len(place), bool)
    keep[order[: min(int(until.sum()), _OVERSHOOT * limit)]] = True
    return np.flatnonzero(keep[owner.reshape(-1)])


def _dog(image: NDArray[np.uint8], limit: int, threshold: float, upright: bool) -> Detections:
    found = _sift(threshold).detect(image)
    return _from_opencv([found[index] for index in _largest(found, limit)], 0.5, upright)


def _akaze(image: NDArray[np.uint8], limit: int, threshold: float, upright: bool) -> Detections:
    keypoints = cv2.xfeatures2d.AKAZE.create(threshold=threshold, max_points=limit).detect(image)
    found = _from_opencv(keypoints, _AKAZE_SIGMA, upright=True)
    step = 2.0 ** np.array([k.octave for k in keypoints], np.float64).reshape(-1, 1)
    full = np.array(image.shape[::-1], np.float64)
    # AKAZE halves rounding down, but counts on in steps of exactly two: pixels are lost on the way down an odd photo.
    found.frames[:, :, 2] = (found.frames[:, :, 2] + 0.5) * (full / step / np.floor(full / step)) - 0.5
    return found if upright else Detections(orient(image, found.frames), found.scores)


def _hessian_affine(image: NDArray[np.uint8], limit: int, threshold: float, upright: bool) -> Detections:
    xy, sigma, score = hessian_blobs(image, threshold)
    # Of a hundred blobs about eighty settle to a shape.
    best = np.argsort(-score, kind="stable")[: int(1.4 * limit)]
    frames, settled = adapt(image, frames_from_keypoints(xy[best], sigma[best]))
    frames = frames[settled]
    return Detections(frames if upright else orient(image, frames), score[best][settled].astype(np.float32))


def _orb_detector(limit: int, threshold: float) -> cv2.ORB:
    return cv2.ORB.create(nfeatures=limit, scaleFactor=_ORB_STEP, fastThreshold=max(1, round(threshold)))


def _orb_frames(image: NDArray[np.uint8], keypoints: Sequence[cv2.KeyPoint], upright: bool) -> Detections:
    """Frames of ORB's keypoints: x / step^level, as ORB gives x, is the place in a level of a rounded size."""
    found = _from_opencv(keypoints, 1.0 / 12.0, upright)
    step = _ORB_STEP ** np.array([k.octave for k in keypoints], np.float64).reshape(-1, 1)
    full = np.array(image.shape[::-1], np.float64)
    centre = (found.frames[:, :, 2] / step + 0.5) * (full / np.rint(full / step)) - 0.5
    found.frames[:, :, 2] = centre
    return found


def _orb(image: NDArray[np.uint8], limit: int, threshold: float, upright: bool) -> Detections:
    return _orb_frames(image, _orb_detector(limit, threshold).detect(image), upright)


Corners = Callable[[NDArray, int, float], tuple[NDArray, NDArray]]
"""(level, most, threshold) to places (N,2) and scores (N,), strongest first."""


def _over_scales(corners: Corners) -> _Find:
    """A corner detector for one scale, on every half octave; each scale gets its share of the area."""

    def find(image: NDArray[np.uint8], limit: int, threshold: float, upright: bool) -> Detections:
        height, width = image.shape
        sizes = [(width, height)]
        while min(sizes[-1]) >= _SMALLEST_LEVEL * np.sqrt(2.0):
            shrink = 2.0 ** (-len(sizes) / 2.0)
            sizes.append((round(width * shrink), round(height * shrink)))
        area = sum(w * h for w, h in sizes)
        parts = []
        for w, h in sizes:
            level = image if w == width else cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA)
            xy, scores = corners(level, max(1, round(limit * w * h / area)), threshold)
            frames = scale_frames(frames_from_keypoints(xy, _CORNER_SIGMA), (width / w, height / h))
            parts.append(Detections(frames, scores.astype(np.float32)))
        frames = np.concatenate([p.frames for p in parts])
        scores = np.concatenate([p.scores for p in parts])
        return Detections(frames if upright else orient(image, frames), scores)

    return find


def _shi_tomasi(harris: bool) -> Corners:
    def corners(level: NDArray, most: int, threshold: float) -> tuple[NDArray, NDArray]:
        everywhere = np.full(level.shape, 255, np.uint8)
        places, quality = cv2.goodFeaturesToTrackWithQuality(
            level, most, threshold, 3.0, everywhere, useHarrisDetector=harris
        )
        if places is None:
            return np.empty((0, 2)), np.empty(0)
        whole = places.reshape(-1, 1, 2)
        stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01)
        exact = cv2.cornerSubPix(level, whole.copy(), (3, 3), (-1, -1), stop)
        # Where the gradients meet in no single point the search wanders off: the whole pixel is better.
        # (Corners are 3 apart: two never come to lie on one place.)
        near = np.linalg.norm(exact - whole, axis=2, keepdims=True) < 1.5
        return np.where(near, exact, whole)[:, 0], np.ravel(quality)

    return corners


def _fast(level: NDArray, most: int, threshold: float) -> tuple[NDArray, NDArray]:
    keypoints = cv2.FastFeatureDetector.create(max(1, round(threshold))).detect(level)
    rows = np.array([(*k.pt, k.response) for k in keypoints], np.float64).reshape(-1, 3)
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1], -rows[:, 2]))[:most]]
    return rows[:, :2], rows[:, 2]


class _Detector(NamedTuple):
    """One row: how it finds (picture, limit, threshold, upright), its default threshold, its smallest picture, and
    whether it keeps to the limit itself."""

    find: _Find
    threshold: float
    smallest: int = 8
    limits: bool = False


_CONTRAST = 0.0133
"""Of the difference of Gaussians, as OpenCV counts it. COLMAP's 0.02 gives a seventh fewer keypoints here than there;
on the validation scenes et, crazyhorse, brighton_beach and cyprus this gives 4 to 13 % more points."""

_TABLE: dict[str, _Detector] = {
    "dog": _Detector(_dog, _CONTRAST, limits=True),
    "hessian-affine": _Detector(_hessian_affine, 1e-4),  # determinant of the Hessian, grey levels 0 to 1
    "akaze": _Detector(_akaze, 3e-4),  # determinant of the Hessian, as OpenCV counts it
    "gftt": _Detector(_over_scales(_shi_tomasi(harris=False)), 0.002, smallest=16),  # share of the strongest corner
    "harris": _Detector(
        _over_scales(_shi_tomasi(harris=True)), 1e-6, smallest=16
    ),  # the same; Harris grows with its square
    "fast": _Detector(_over_scales(_fast), 10.0),  # grey levels
    "orb": _Detector(_orb, 10.0, smallest=64),  # grey levels
}


def _fused_sift(image: NDArray[np.uint8], config: DetectorConfig) -> DescribedDetections:
    row = _TABLE["dog"]
    if min(_checked(image).shape) < row.smallest:
        return _none(), np.empty((0, 128), np.float32)
    sift = _sift(config.threshold or row.threshold)
    keypoints, rows = _both(sift, image, config.upright)
    found = _from_opencv(keypoints, 0.5, config.upright)
    kept = _largest(keypoints, config.max_keypoints)
    best = kept[_ranking(found[kept])]
    described = np.empty((0, 128), np.float32) if rows is None else rows[best]
    return found[best], described / np.maximum(np.linalg.norm(described, axis=1, keepdims=True), 1e-6)


def _fused_rootsift(image: NDArray[np.uint8], config: DetectorConfig) -> DescribedDetections:
    found, sift = _fused_sift(image, config)
    return found, np.sqrt(sift / np.maximum(sift.sum(axis=1, keepdims=True), 1e-6))


def _fused_orb(image: NDArray[np.uint8], config: DetectorConfig) -> DescribedDetections:
    row = _TABLE["orb"]
    if min(_checked(image).shape) < row.smallest:
        return _none(), np.empty((0, 32), np.uint8)
    keypoints, rows = _both(
        _orb_detector(config.max_keypoints, config.threshold or row.threshold), image, config.upright
    )
    found = _orb_frames(image, keypoints, config.upright)
    best = _ranking(found)[: config.max_keypoints]
    return found[best], np.empty((0, 32), np.uint8) if rows is None else rows[best]


def _both(
    feature: cv2.Feature2D, image: NDArray[np.uint8], upright: bool
) -> tuple[Sequence[cv2.KeyPoint], NDArray | None]:
    """Keypoints and their descriptors (None without keypoints) in one pass, or in two where angles are set to 0."""
    if not upright:
        return feature.detectAndCompute(image, None)  # type: ignore[call-overload]
    keypoints = feature.detect(image)
    for keypoint in keypoints:
        keypoint.angle = 0.0
    return feature.compute(image, keypoints) if keypoints else ((), None)


FUSED: dict[tuple[str, str], Fused] = {
    ("dog", "sift"): _fused_sift,
    ("dog", "rootsift"): _fused_rootsift,
    ("orb", "orb"): _fused_orb,
}
"""(detector, descriptor) to a function of picture and config that does both in one pass of the library.

It gives the detections, and one descriptor for each in their order: (N,128) float32 of unit length or (N,32) uint8.
"""
