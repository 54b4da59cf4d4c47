"""The geometry of a pair of photos, or that chance would explain its matches as well."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError
from pipelines.core.maps import Camera, TwoView
from pipelines.core.thresholds import threshold_scale
from pipelines.geometry.chance import log_false_alarms

_MAX_ERROR = 100.0
_MIN_INLIERS = 8
"""Eight points give a fundamental matrix by themselves."""


@dataclass(frozen=True)
class VerifyConfig:
    """When a pair's matches count as one scene seen twice.

    Attributes:
        max_error: px, of the full-resolution photo at 1,600 px; scaled with the photo's longer side.
        min_inliers: fewer verified matches count as none.
        guided_error: px, likewise; matches that failed the ratio test are taken if they lie this near to the epipolar
            line of a verified pair. 0 takes none.
    """

    max_error: float = 4.0
    min_inliers: int = 15
    guided_error: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.max_error <= _MAX_ERROR:
            what = f"A verification threshold of {self.max_error:g} px is not possible"
            raise ConfigError(what, f"it lies between 0 and {_MAX_ERROR:g}", "--max-error 4")
        if self.min_inliers < _MIN_INLIERS:
            what = f"{self.min_inliers} verified matches are too few to tell a pair from chance"
            raise ConfigError(what, f"{_MIN_INLIERS} at least are needed", "--min-matches 15")


def estimate_two_view(
    cameras: tuple[Camera, Camera],
    xy: tuple[NDArray[np.float32], NDArray[np.float32]],
    matches: NDArray[np.int32],
    config: VerifyConfig,
    *,
    seed: int,
    tested: bool = False,
) -> TwoView | None:
    """Robust geometry of a pair; None if there is none, or one that chance would give as well.

    Args:
        cameras: of the two photos.
        xy: (N,2) and (M,2) keypoint centres, px.
        matches: (K,2) indices into them.
        config: thresholds.
        seed: RANSAC's.
        tested: the matches were looked for along the lines of a geometry that is no chance; all lie near it, so that
            they cannot be asked again.
    """
    from pipelines import colmap  # Not at the top: panoramas take the configuration alone.

    view = colmap.verify_pair(
        cameras,
        xy,
        matches,
        max_error=config.max_error * threshold_scale(*cameras),
        min_inliers=config.min_inliers,
        seed=seed,
    )
    if view is None or tested or log_false_alarms(view, cameras, xy, matches) <= 0:
        return view
    return None
