"""Two photos to depth: matches, calibration, rectification, disparities."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors import registry
from pipelines.core.clock import timed
from pipelines.core.config import check_seed
from pipelines.core.errors import ConfigError, InputError, NoModelError, NoOverlapError
from pipelines.core.maps import Camera
from pipelines.core.progress import Progress, Silent
from pipelines.core.types import Photo
from pipelines.depth.pair import CENSUS, Disparities, cost_function, match_pair
from pipelines.features.detectors import DetectorConfig
from pipelines.features.extract import FeatureConfig
from pipelines.geometry.two_view import VerifyConfig
from pipelines.images.cameras import CameraConfig, Intrinsics, camera_prior
from pipelines.images.read import Image, read_color_image
from pipelines.matching.matcher import MatchConfig
from pipelines.pairwise.match import PairConfig, PairResult, match_two, read_two
from pipelines.stereo.calib import Calibration, rectified_calibration
from pipelines.stereo.estimate import estimated_calibration, lens_of
from pipelines.stereo.opencv import sgbm
from pipelines.stereo.rectify import Rectification, rectification, resized
from pipelines.stereo.span import Span, check_rows, span_of_matches

Matcher = Callable[[NDArray[np.uint8], NDArray[np.uint8], int, int], Disparities]
_OPENCV: dict[str, Matcher] = {"sgbm": partial(sgbm, wls=False), "sgbm+wls": partial(sgbm, wls=True)}
"""Costs that are OpenCV's whole matcher."""
DEFAULT_COST = "swift-stereo"
_FOR_MATCHES = "rootsift"
"""What finds sparse matches where the cost is no descriptor of keypoints."""
_NOT_FOR_MATCHES = (CENSUS, DEFAULT_COST, *_OPENCV)
_TOO_FEW, _FEW = 0.01, 0.2
"""Share of the pixels that must be measured for depth, and below which the user is told."""
_TOO_FAR = "the photos were taken too far apart, or turned too much"
_NEARER = "photos taken closer together, or --disparities MIN:MAX"
_BYTES_A_CELL = 4.5
"""Cost, sums and the sums moved for the second picture."""
_MEMORY = 2.5e9
"""Bytes that these may take."""


@dataclass(frozen=True)
class StereoConfig:
    """How two photos become depth.

    Attributes:
        cost: ``sgbm``, ``sgbm+wls``, ``census``, or a descriptor of the zoo.
        max_side: longer side at which disparities are computed, px; 0 for the photos' own.
        disparities: smallest and largest disparity at that size; None: by sparse matches.
        rectified: the photos are rectified though no calibration is given.
        intrinsics: of both photos or of each, where no calibration is given.
        baseline: distance of the two cameras, m, also in place of the calibration's; 0 if unknown or as there.
        seed: of the robust estimation.
    """

    cost: str = DEFAULT_COST
    max_side: int = 1600
    disparities: tuple[int, int] | None = None
    rectified: bool = False
    intrinsics: tuple[Intrinsics, ...] = ()
    baseline: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 0 <= self.baseline < math.inf or self.max_side < 0 or len(self.intrinsics) > 2:
            raise ConfigError(
                "The options of stereo do not fit",
                "a baseline and a size are finite and not negative, and intrinsics are given at most twice",
                "--baseline 0.12 for twelve centimetres",
            )
        near = difflib.get_close_matches(self.cost, (CENSUS, *_OPENCV), n=1)
        if near and self.cost not in (CENSUS, *_OPENCV, *registry.names()):
            raise ConfigError(f"There is no matching cost {self.cost!r}", "", f"--cost {near[0]}")
        if self.cost not in _OPENCV:
            cost_function(self.cost)  # a wrong name is told before any work

    @property
    def matcher(self) -> Matcher:
        """The function that makes disparities."""
        return _OPENCV.get(self.cost) or partial(match_pair, cost=self.cost)


@dataclass(frozen=True)
class Depth:
    """What two photos tell about the depth of the left one.

    Attributes:
        photos: left and right.
        config: how it was made.
        rectification: where the rectified pictures come from.
        left, right: (H,W,3) uint8 the rectified pictures.
        disparities: of the left one.
        known: (H,W) bool, where the left photo has pixels and the depth is in front of the camera.
        depth: (H,W) float32 along the optical axis, in ``calibration.unit``; NaN where not ``known``.
        span: disparities that were tried.
        matches: sparse matches that were found.
        seconds: by step.
    """

    photos: tuple[Photo, Photo]
    config: StereoConfig
    rectification: Rectification
    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    disparities: Disparities
    known: NDArray[np.bool_]
    depth: NDArray[np.float32]
    span: Span
    matches: int
    seconds: dict[str, float]

    @property
    def calibration(self) -> Calibration:
        """Of the rectified pictures."""
        return self.rectification.calibration

    @property
    def density(self) -> float:
        """Share of the pixels that are measured; the others are filled in or unknown."""
        return float((self.disparities.measured & self.known).mean())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know before he trusts the depth."""
        found = {
            "the focal length is guessed: the shape may be wrong; give --intrinsics": self.calibration.guessed,
            f"less than {100 * _FEW:.0f} % of the pixels are measured: {_TOO_FAR}": self.density < _FEW,
        }
        return tuple(text for text, true in found.items() if true)


def stereo(
    photos: tuple[Photo, Photo],
    calibration: Calibration | None,
    config: StereoConfig,
    *,
    progress: Progress | None = None,
) -> Depth:
    """Depth of the left of two photos.

    Raises:
        InputError: different sizes, identical photos, swapped photos, or a calibration that is not theirs.
        NoOverlapError: they do not show the same scene.
        NoModelError: no calibration was given and none follows from the matches, e.g. the camera only turned; or
            hardly a pixel is measured.
        ConfigError: a range of disparities larger than the picture or the memory, intrinsics that do not fit, or that
            are given beside a calibration.
    """
    progress = progress or Silent()
    _check_photos(photos, calibration)
    _check_cameras(calibration, config)
    cameras = _cameras(photos, config)
    seconds: dict[str, float] = {}
    with progress.stage("Stereo", 4) as task:
        with timed(seconds, "matches"):
            images = _images(photos, config.max_side)
            task.advance(note="photos")
            found = _sparse(photos, calibration, config)
            task.advance(note="sparse matches")
        with timed(seconds, "rectification"):
            made = _rectify(cameras, images, found, calibration, config)
            (left, inside), (right, _) = (
                side.picture(image.pixels, made.size)
                for side, image in zip((made.left, made.right), images, strict=True)
            )
            span = _span(made, found, images, config)
            task.advance(note=f"disparities {span.start} to {span.start + span.count - 1}")
        with timed(seconds, "disparities"):
            disparities = config.matcher(left, right, span.start, span.count)
            task.advance()
    known, depth = _depth(disparities.values, inside, made.calibration)
    result = Depth(photos, config, made, left, right, disparities, known, depth, span, len(found.pairs), seconds)
    if result.density < _TOO_FEW:
        raise NoModelError(
            "No depth was found",
            f"left and right agree on {100 * result.density:.1f} % of the pixels: {_TOO_FAR}",
            _NEARER,
        )
    return result


def _check_photos(photos: tuple[Photo, Photo], calibration: Calibration | None) -> None:
    sizes = [(photo.width, photo.height) for photo in photos]
    if sizes[0] != sizes[1]:
        raise InputError(
            "The two photos have different sizes", " and ".join(f"{wide} x {high} px" for wide, high in sizes),
            "two photos of one camera, or both resized to one size",
        )  # fmt: skip
    if photos[0].content == photos[1].content:
        raise _identical()
    if calibration is not None and calibration.size not in (None, sizes[0]):
        wide, high = calibration.size or (0, 0)
        raise InputError(
            f"The calibration {calibration.source} is not of these photos",
            f"it is for {wide} x {high} px, and the photos have {sizes[0][0]} x {sizes[0][1]}",
            "the calibration of these photos",
        )


def _check_cameras(calibration: Calibration | None, config: StereoConfig) -> None:
    if calibration is None or not (config.rectified or config.intrinsics):
        return
    other = "--rectified" if config.rectified else "--intrinsics"
    raise ConfigError(
        f"--calib and {other} cannot both hold",
        f"{calibration.source} tells the cameras, and whether rows correspond",
        f"--calib without {other}; for rectified photos one with P1 and P2, or Middlebury's",
    )


def _images(photos: tuple[Photo, Photo], max_side: int) -> tuple[Image, Image]:
    first, second = (read_color_image(photo, max_side) for photo in photos)
    if np.array_equal(first.pixels, second.pixels):
        raise _identical()
    return first, second


def _identical(why: str = "without a baseline between them there is no depth") -> InputError:
    return InputError("The two photos are identical", why, "two photos from two places")


def _sparse(photos: tuple[Photo, Photo], calibration: Calibration | None, config: StereoConfig) -> PairResult:
    name = _FOR_MATCHES if config.cost in _NOT_FOR_MATCHES else config.cost
    registry.spec(registry.shortlist(name))
    side = config.max_side or 1600
    features = FeatureConfig(name, DetectorConfig(max_keypoints=6000), side)
    model = "auto" if calibration is None and not config.rectified else "F"
    return match_two(photos, PairConfig(features, MatchConfig(), model, VerifyConfig(), config.seed))


def _rectify(
    cameras: tuple[Camera, Camera],
    images: tuple[Image, Image],
    found: PairResult,
    calibration: Calibration | None,
    config: StereoConfig,
) -> Rectification:
    size = images[0].pixels.shape[1], images[0].pixels.shape[0]
    if calibration is None:
        if config.rectified:
            calibration = rectified_calibration(cameras[0].K, cameras[1].K, 1.0, unit="", source="--rectified")
        else:
            _check_overlap(found)
            calibration = estimated_calibration(found, cameras)
        calibration = replace(calibration, guessed="guess" in {camera.source for camera in cameras})
    if config.baseline:
        t = calibration.t * (config.baseline / calibration.baseline)
        calibration = replace(calibration, t=t, unit="m")
    return rectification(resized(calibration, images[0].scale), size)


def _check_overlap(found: PairResult) -> None:
    if not found.overlap:
        raise NoOverlapError(
            "The two photos do not show the same scene",
            f"of {len(found.pairs)} matches {int(found.inliers.sum())} agree with one motion, as many as by chance",
            "two photos of one place, or with a calibration --disparities MIN:MAX to match them all the same",
        )


def _cameras(photos: tuple[Photo, Photo], config: StereoConfig) -> tuple[Camera, Camera]:
    given = config.intrinsics
    each = [given[min(number, len(given) - 1)] if given else None for number in range(2)]
    first, second = (
        camera_prior(photo, CameraConfig(model="" if own else "SIMPLE_PINHOLE", intrinsics=own))
        for photo, own in zip(photos, each, strict=True)
    )
    for camera in (first, second):
        lens_of(camera)  # one that stereo does not know is told before any work
    return first, second


def _span(made: Rectification, found: PairResult, images: tuple[Image, Image], config: StereoConfig) -> Span:
    width = made.size[0]
    left, right = (
        side.points(image.from_full(points))
        for side, image, points in zip((made.left, made.right), images, found.points, strict=True)
    )
    if config.disparities is None:
        _check_overlap(found)
        check_rows(left, right, found.inliers, made.calibration.source)
        span = span_of_matches(left[found.inliers], right[found.inliers], width, offset=made.calibration.offset)
        if made.calibration.disparities:
            span = Span(0, made.calibration.disparities, "the calibration")
    else:
        low, high = config.disparities
        span = Span(low, high - low + 1, "given")
    if span.count > width:
        raise ConfigError(
            f"The range of {span.count} disparities is larger than the picture",
            f"the rectified pictures are {width} px wide",
            f"--disparities 0:{width // 4}",
        )
    memory = made.size[0] * made.size[1] * span.count * _BYTES_A_CELL
    if memory > _MEMORY:
        too_far = config.disparities is None and span.count > width / 2
        raise ConfigError(
            f"{made.size[0]} x {made.size[1]} px with {span.count} disparities need too much memory",
            f"{memory / 1e9:.1f} GB" + f"; {_TOO_FAR}" * too_far,
            _NEARER if too_far else "a smaller --max-size or a narrower --disparities",
        )
    return span


def _depth(
    values: NDArray[np.float32], inside: NDArray[np.bool_], calibration: Calibration
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    apart = values + np.float32(calibration.offset)
    known = inside & np.isfinite(values) & (apart > 0.05)
    if not known.any():
        raise NoModelError("No depth was found", "every disparity lies behind the cameras", "the photos in other order")
    depth = np.full(values.shape, np.nan, np.float32)
    depth[known] = calibration.focal * calibration.baseline / apart[known]
    return known, depth


def read_photos(left: Path, right: Path) -> tuple[Photo, Photo]:
    """The two photos; see :func:`pipelines.pairwise.match.read_two`."""
    if left.exists() and right.exists() and left.samefile(right):
        raise _identical(f"{left} is given twice, and without a baseline there is no depth")
    return read_two(left, right)
