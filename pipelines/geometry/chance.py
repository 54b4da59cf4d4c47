"""Is a pair's geometry more than chance? The a-contrario test: how many as good ones would unrelated photos give?

Moisan and Stival, A probabilistic criterion to detect rigid point matches, IJCV 2004; for several models by Moulon,
Monasse and Marlet, Adaptive structure from motion with a contrario model estimation, ACCV 2012.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.types import Camera, TwoView
from pipelines.geometry.residuals import residuals

_LEAST_ERROR = 0.5
"""Px; no keypoint lies more exactly, so that smaller residuals prove nothing more."""


@dataclass(frozen=True)
class _Model:
    """Matches that a minimal sample takes, the models it gives at most, and the exponent of the error: 1 for a line, 2
    for a point."""

    sample: int
    models: int
    power: int


_ESSENTIAL, _FUNDAMENTAL, _HOMOGRAPHY = _Model(5, 10, 1), _Model(7, 3, 1), _Model(4, 1, 2)
_MODELS = {
    "CALIBRATED": _ESSENTIAL,
    "UNCALIBRATED": _FUNDAMENTAL,
    "PLANAR": _HOMOGRAPHY,
    "PANORAMIC": _HOMOGRAPHY,
    "PLANAR_OR_PANORAMIC": _HOMOGRAPHY,
}


def log_false_alarms(
    view: TwoView,
    cameras: tuple[Camera, Camera],
    xy: tuple[NDArray[np.float32], NDArray[np.float32]],
    matches: NDArray[np.int32],
) -> float:
    """log10 of the number of geometries as good as this one that chance is expected to give; below 0 it is no chance.

    Of all numbers of best matches, the one that is least likely counts, so that a few exact matches weigh as much as
    many rough ones.

    Args:
        view: geometry of the pair.
        cameras: of the two photos, for their sizes.
        xy: (N,2) and (M,2) keypoint centres, px.
        matches: (K,2) all the matches that the geometry was sought in, not its inliers alone.
    """
    model, count = _MODELS.get(view.config), len(matches)
    if model is None or count <= model.sample:
        return math.inf
    errors = np.maximum(np.sort(residuals(view, xy, matches)), _LEAST_ERROR)[model.sample :]
    width, height = min(((c.width, c.height) for c in cameras), key=lambda size: size[0] * size[1])
    unit = 2 * math.hypot(width, height) if model.power == 1 else math.pi
    with np.errstate(over="ignore"):
        chance = np.minimum(unit * errors**model.power / (width * height), 1.0)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])  # its logarithm
    k, sample = np.arange(model.sample + 1, count + 1), model.sample
    log = (
        math.log(model.models * (count - model.sample))
        + (factorial[count] - factorial[k] - factorial[count - k])
        + (factorial[k] - factorial[sample] - factorial[k - sample])
        + (k - sample) * np.log(chance)
    )
    return float(log.min() / math.log(10))
