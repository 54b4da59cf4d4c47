"""Two photos to matches and the geometry behind them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import check_seed, known_name
from pipelines.core.errors import InputError
from pipelines.core.maps import Camera
from pipelines.core.thresholds import threshold_scale
from pipelines.core.types import Features, Photo
from pipelines.engine import map_items
from pipelines.features.extract import FeatureConfig
from pipelines.geometry.chance import log_false_alarms_of
from pipelines.geometry.two_view import VerifyConfig
from pipelines.images.cameras import CameraConfig, camera_prior
from pipelines.images.read import scan
from pipelines.matching.matcher import MatchConfig
from pipelines.pairwise.frontend import FrontEnd
from pipelines.pairwise.models import KINDS, PairModel, estimate
from pipelines.store.files import write_arrays

MODELS = ("auto", *KINDS)
_NOISE = 0.5
"""px at 1,600 px: spread of keypoints' places. On sample_data GRIC then takes H for all pairs of the turning camera and
an epipolar geometry for all of the walking one; with 1.0, H for 9 of its 15."""
_CHANCE = -3.0
"""Overlap that chance gives once in a thousand pairs of photos, log10."""


@dataclass(frozen=True)
class PairConfig:
    """How two photos are matched.

    Attributes:
        features, match: the front end.
        model: ``H``, ``F``, ``E``, or ``auto`` for the one with the smallest GRIC.
        verify: threshold (px at 1,600 px) and fewest inliers of photos that show the same.
        seed: of the robust estimation.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    model: str = "auto"
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        known_name("model", self.model, MODELS, "--model", "auto")


@dataclass(frozen=True)
class PairResult:
    """What two photos have in common.

    Attributes:
        photos: the two.
        config: how they were matched.
        features: of the two, in full-resolution pixels.
        pairs: (M,2) int32 matched keypoints, the most distinctive first.
        ratios: (M,) float32 nearest / second-nearest distance; 0 from metric networks.
        model: the chosen model, None without any.
        grics: score of each kind that was tried, smaller is better.
        max_error: px of the full resolution, the threshold of an inlier.
        cameras: intrinsics that E was estimated with.
        seconds: describing and matching, estimating.
    """

    photos: tuple[Photo, Photo]
    config: PairConfig
    features: tuple[Features, Features]
    pairs: NDArray[np.int32]
    ratios: NDArray[np.float32]
    model: PairModel | None
    grics: Mapping[str, float]
    max_error: float
    cameras: tuple[Camera, Camera]
    seconds: tuple[float, float]

    @property
    def inliers(self) -> NDArray[np.bool_]:
        """(M,) which matches agree with the model."""
        return np.zeros(len(self.pairs), bool) if self.model is None else self.model.inliers

    @property
    def overlap(self) -> bool:
        """Whether the photos show the same thing: inliers enough, and more than chance gives."""
        return int(self.inliers.sum()) >= self.config.verify.min_inliers and self.log10_chance < _CHANCE

    @property
    def log10_chance(self) -> float:
        """See :func:`pipelines.geometry.chance.log_false_alarms_of`; infinite without a model."""
        if self.model is None:
            return math.inf
        size = min(((photo.width, photo.height) for photo in self.photos), key=math.prod)
        return log_false_alarms_of(KINDS[self.model.kind].family, self.model.errors, size)

    @property
    def points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M,2), (M,2) places of the matches."""
        a, b = (side.xy[rows].astype(np.float64) for side, rows in zip(self.features, self.pairs.T, strict=True))
        return a, b

    @property
    def sentence(self) -> str:
        """Counts and model in one line."""
        keypoints = " and ".join(f"{len(side):,}" for side in self.features)
        text = f"{self.config.features.descriptor}: {keypoints} keypoints, {len(self.pairs):,} matches"
        if self.model is None:
            return f"{text}, no model"
        inliers = self.model.inliers
        text += f", {len(self.model):,} inliers of {self.model.kind}"
        if self.model.kind == "E" and "guess" in {camera.source for camera in self.cameras}:
            text += " (focal length guessed: it may be wrong)"
        return f"{text}, median error {np.median(self.model.errors[inliers]):.2f} px" if inliers.any() else text


def read_two(a: Path, b: Path) -> tuple[Photo, Photo]:
    """The two photos.

    Raises:
        InputError: one of them cannot be used, or both are the same file.
    """
    if a.exists() and b.exists() and a.samefile(b):
        raise InputError(f"{a} is given twice", "a photo matches itself without error", "give two different photos")
    found = []
    for path in (a, b):
        if path.is_dir():
            raise InputError(f"{path} is a folder", "two photo files are matched", "recon sfm for a folder of photos")
        photos, rejected = scan([path])
        if rejected:
            raise InputError(f"{path} cannot be used", rejected[0].why, rejected[0].try_ or "give another photo")
        found.append(photos[0])
    return found[0], found[1]


def match_two(photos: tuple[Photo, Photo], config: PairConfig) -> PairResult:
    """Detect, describe, match and explain the matches.

    All kinds of model are fitted to all matches; ``auto`` takes the one with the smallest GRIC: a homography where
    the scene is a plane or the camera only turned, an epipolar geometry where there is depth; E rather than F where
    the camera's focal length (EXIF, or 1.2 long sides) explains the matches as well.

    Raises:
        InputError: a photo cannot be read.
    """
    begin = time.perf_counter()
    front = FrontEnd(config.features, config.match)
    first, second = map_items(front.describe, photos, workers=1 if front.is_metric_network else 2)
    found = front.match(first, second)
    described = time.perf_counter()
    scale = threshold_scale(*photos)
    own, other = (camera_prior(photo, CameraConfig(model="SIMPLE_PINHOLE")) for photo in photos)
    a, b = first.xy[found.pairs[:, 0]].astype(np.float64), second.xy[found.pairs[:, 1]].astype(np.float64)
    max_error = config.verify.max_error * scale
    kinds = list(KINDS) if config.model == "auto" else [config.model]
    tried = [
        estimate(kind, a, b, (own.K, other.K), max_error=max_error, noise=_NOISE * scale, seed=config.seed)
        for kind in kinds
    ]
    models = [model for model in tried if model is not None]
    return PairResult(
        photos,
        config,
        (first, second),
        found.pairs,
        found.ratios,
        min(models, key=lambda model: model.gric, default=None),
        {model.kind: model.gric for model in models},
        max_error,
        (own, other),
        (described - begin, time.perf_counter() - described),
    )


def plain(result: PairResult) -> dict[str, object]:
    """The result as a JSON value."""
    model = result.model
    errors = model.errors[model.inliers] if model is not None and len(model) else np.empty(0)
    return {
        "photos": [
            {"name": photo.name, "path": str(photo.path), "width": photo.width, "height": photo.height,
             "keypoints": len(features), "focal_px": camera.params[0], "focal_from": camera.source}
            for photo, features, camera in zip(result.photos, result.features, result.cameras, strict=True)
        ],
        "descriptor": result.config.features.descriptor,
        "detector": result.config.features.detector.name,
        "matches": len(result.pairs),
        "inliers": int(result.inliers.sum()),
        "overlap": result.overlap,
        "log10_chance": result.log10_chance if math.isfinite(result.log10_chance) else None,
        "model": None if model is None else model.kind,
        "chosen_by": "GRIC, smallest" if result.config.model == "auto" else "given",
        "gric": dict(result.grics),
        "matrix": None if model is None else model.matrix.tolist(),
        "max_error_px": result.max_error,
        "median_error_px": float(np.median(errors)) if len(errors) else None,
        "seconds": {"features_and_matches": round(result.seconds[0], 3), "model": round(result.seconds[1], 3)},
    }  # fmt: skip


def write_npz(path: Path, result: PairResult) -> None:
    """Keypoints, matches and model as arrays.

    frames_a, frames_b (N,2,3); matches (M,2); points_a, points_b (M,2) px; ratios (M,); inliers (M,) bool;
    errors (M,) px; kind, matrix (3,3). Without a model the last three are missing.

    Raises:
        OutputError: the file cannot be written.
    """
    a, b = result.points
    arrays: dict[str, NDArray] = {
        "frames_a": result.features[0].frames,
        "frames_b": result.features[1].frames,
        "matches": result.pairs,
        "points_a": a,
        "points_b": b,
        "ratios": result.ratios,
        "inliers": result.inliers,
    }
    if result.model is not None:
        arrays |= {
            "errors": result.model.errors,
            "kind": np.array(result.model.kind),
            "matrix": result.model.matrix,
        }
    write_arrays(path, arrays)
