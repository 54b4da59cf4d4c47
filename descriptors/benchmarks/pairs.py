"""What the boards of patch pairs share: verification by a threshold, and matching by the second-nearest ratio."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks import scores
from descriptors.benchmarks.comparing import ByDistance, distance_matrix
from descriptors.benchmarks.results import Curve
from descriptors.contract import DescriptorError, Distance

# Points of a curve that a page is given; a ROC of 100,000 pairs has as many steps.
_CURVE_POINTS = 160
Doubt = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""Nearest and second nearest distances (N,), (N,) → (N,), the larger the less clear which is nearer."""
_BY_RATIO: Doubt = ByDistance("l2", 1.0).doubt
# Anchors whose distances to all patches are held at a time.
_ROWS = 1024


def roc_curve(
    board: str, descriptor: str, condition: str, positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> Curve:
    """The ROC of pairs, thinned out: recall over false positive rate at rates spaced evenly on a logarithmic axis."""
    curve = scores.roc(positive, negative)
    rates = np.geomspace(max(0.5 / max(len(negative), 1), 1e-6), 1.0, _CURVE_POINTS)
    # The recall at a rate is that of the last threshold that does not exceed it.
    recall = curve.tpr[np.searchsorted(curve.fpr, rates, side="right") - 1]
    return Curve(board, descriptor, condition, "roc", tuple(rates.tolist()), tuple(recall.tolist()))


def snn_precision(positive: NDArray[np.float64], negative: NDArray[np.float64], doubt: Doubt = _BY_RATIO) -> float:
    """Average precision of second-nearest ratios, as "Brown PhotoTour revisited" scores them.

    Args:
        positive: (N,) distance of each anchor to its partner.
        negative: (N,) distance of the same anchor to the nearest patch of any other point.

    The match to the nearer of the two is right if the partner is not the farther one; matches are ranked by the
    ratio of the two distances, or by ``doubt``. NaN if no match is right.

    Source: Mishkin's brown_phototour_revisited, after Jin et al., Image Matching Across Wide Baselines, IJCV 2021.

    Raises:
        DescriptorError: different numbers of distances.
    """
    if len(positive) != len(negative):
        raise DescriptorError(f"{len(positive)} partners but {len(negative)} rivals: each anchor has one of both.")
    ranked = doubt(np.minimum(positive, negative), np.maximum(positive, negative))
    return scores.average_precision(ranked, positive <= negative)


def snn_map(descriptors: NDArray, point: NDArray[np.integer], photo: NDArray[np.integer], distance: Distance) -> float:
    """Mean over photos of :func:`snn_precision`, every patch an anchor once for each partner in its photo's set.

    Args:
        descriptors: (N,D).
        point: (N,) which 3D point a patch shows; patches of one point are partners.
        photo: (N,) reference photo of the patch; sets are matched within themselves.
        distance: of the descriptors.
    """
    found = []
    for members in np.split(np.argsort(photo, kind="stable"), np.flatnonzero(np.diff(np.sort(photo))) + 1):
        if not len(members):
            continue
        own, label = descriptors[members], point[members]
        positive, negative = [], []
        for first in range(0, len(members), _ROWS):
            rows = slice(first, first + _ROWS)
            apart = distance_matrix(own[rows], own, distance).astype(np.float64)
            same = label[rows, None] == label[None]
            rival = np.where(same, np.inf, apart).min(axis=1, initial=np.inf)
            same[np.arange(len(own[rows])), np.arange(len(members))[rows]] = False
            anchor, partner = np.nonzero(same)
            positive.append(apart[anchor, partner])
            negative.append(rival[anchor])
        found.append(snn_precision(np.concatenate(positive), np.concatenate(negative)))
    return scores.mean(found)
