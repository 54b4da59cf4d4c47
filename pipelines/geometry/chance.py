"""Is a pair's geometry more than chance? The a-contrario test: how many as good ones would unrelated photos give?

Moisan and Stival, A probabilistic criterion to detect rigid point matches, IJCV 2004; for several models by Moulon,
Monasse and Marlet, Adaptive structure from motion with a contrario model estimation, ACCV 2012.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.geometry.residuals import residuals

if TYPE_CHECKING:
    from pipelines.core.maps import Camera, TwoView

_LEAST_ERROR = 0.5
"""Px; no keypoint lies more exactly, so that smaller residuals prove nothing more."""


class Family(NamedTuple):
    """Matches that a minimal sample takes, the models it gives at most, and the exponent of the error: 1 for a line, 2
    for a point."""

    sample: int
    models: int
    power: int


ESSENTIAL, FUNDAMENTAL, HOMOGRAPHY = Family(5, 10, 1), Family(7, 3, 1), Family(4, 1, 2)
_FAMILIES = {
    "CALIBRATED": ESSENTIAL,
    "UNCALIBRATED": FUNDAMENTAL,
    "PLANAR": HOMOGRAPHY,
    "PANORAMIC": HOMOGRAPHY,
    "PLANAR_OR_PANORAMIC": HOMOGRAPHY,
}


def log_false_alarms(
    view: TwoView,
    cameras: tuple[Camera, Camera],
    xy: tuple[NDArray[np.float32], NDArray[np.float32]],
    matches: NDArray[np.int32],
) -> float:
    """:func:`log_false_alarms_of` for the geometry of a pair; infinite where it has none.

    Args:
        view: geometry of the pair.
        cameras: of the two photos, for their sizes.
        xy: (N,2) and (M,2) keypoint centres, px.
        matches: (K,2) all the matches that the geometry was sought in, not its inliers alone.
    """
    family = _FAMILIES.get(view.config)
    if family is None:
        return math.inf
    size = min(((camera.width, camera.height) for camera in cameras), key=math.prod)
    return log_false_alarms_of(family, residuals(view, xy, matches), size)


def log_false_alarms_of(family: Family, errors: NDArray[np.float64], size: tuple[int, int]) -> float:
    """log10 of the number of models as good as this one that chance is expected to give; below 0 it is no chance.

    Of all numbers of best matches, the one that is least likely counts, so that a few exact matches weigh as much as
    many rough ones.

    Args:
        family: what was sought.
        errors: (K,) distances from the model, px, of all the matches that it was sought in.
        size: width and height of the smaller photo, px.
    """
    count, sample = len(errors), family.sample
    if count <= sample:
        return math.inf
    errors = np.maximum(np.sort(errors), _LEAST_ERROR)[sample:]
    width, height = size
    unit = 2 * math.hypot(width, height) if family.power == 1 else math.pi
    with np.errstate(over="ignore"):
        chance = np.minimum(unit * errors**family.power / (width * height), 1.0)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])  # its logarithm
    k = np.arange(sample + 1, count + 1)
    log = (
        math.log(family.models * (count - sample))
        + (factorial[count] - factorial[k] - factorial[count - k])
        + (factorial[k] - factorial[sample] - factorial[k - sample])
        + (k - sample) * np.log(chance)
    )
    return float(log.min() / math.log(10))
