"""Scores of rankings, exact: ties count as ties, whatever the order of the list; nothing to score is NaN.

Distances are any numbers of which smaller means more alike. Where several pairs have one distance, no threshold
can tell them apart, so every curve takes them in one step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from descriptors.contract import DescriptorError


@dataclass(frozen=True)
class Roc:
    """Rates of accepted pairs at every threshold, from none to all.

    Attributes:
        fpr, tpr: (T+1,) shares of negatives and of positives accepted, ascending from (0, 0) to (1, 1).
        thresholds: (T+1,) largest accepted distance; the first is minus infinity.
    """

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    @property
    def area(self) -> float:
        """Area under the curve: the chance that a positive is nearer than a negative, ties counting half."""
        # The first rates are 0, or NaN where there is nothing to count.
        steps = np.sum(np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1]) / 2)
        return float(steps + self.fpr[0] + self.tpr[0])


def roc(positive: ArrayLike, negative: ArrayLike) -> Roc:
    """ROC of distances of matching pairs (P,) and of pairs that do not match (N,).

    Without pairs of a kind its rate is NaN.

    Raises:
        DescriptorError: a distance is NaN.
    """
    good, bad = _distances(positive, "matching"), _distances(negative, "non-matching")
    thresholds = np.unique(np.concatenate([good, bad]))
    true, false = (np.searchsorted(np.sort(side), thresholds, side="right") for side in (good, bad))
    return Roc(
        fpr=_share(np.concatenate([[0], false]), len(bad)),
        tpr=_share(np.concatenate([[0], true]), len(good)),
        thresholds=np.concatenate([[-np.inf], thresholds]),
    )


def fpr95(positive: ArrayLike, negative: ArrayLike) -> float:
    """False positive rate at 95 % recall, FP / N: the figure of Brown, Hua and Winder (PAMI 2011). See :func:`roc`."""
    if not np.size(positive) or not np.size(negative):
        return float("nan")
    curve = roc(positive, negative)
    # Rates are k / P: a recall of 0.95 that falls on one of them must not miss it by rounding.
    return float(curve.fpr[np.searchsorted(curve.tpr, 0.95 - 1e-12)])


def roc_area(positive: ArrayLike, negative: ArrayLike) -> float:
    """Area under the ROC, see :class:`Roc`; NaN without pairs of both kinds."""
    return roc(positive, negative).area


def average_precision(distances: ArrayLike, correct: ArrayLike, *, possible: int | None = None) -> float:
    """Average precision of a ranked list: the mean, over all that could be found, of the precision at finding it.

    ``sum over thresholds of (recall gained) * (precision there)``: the step rule, which scikit-learn follows.

    Args:
        distances: (N,) smaller ranks first; infinity is never retrieved.
        correct: (N,) bool.
        possible: how many correct answers there are; None takes those in the list. More lower the recall.

    Returns:
        In 0..1; NaN if nothing is possible.

    Raises:
        DescriptorError: a distance is NaN, shapes differ, or ``possible`` is less than the list holds.
    """
    found, retrieved, total = _ranking(distances, correct, possible)
    if not total:
        return float("nan")
    return float(np.sum(np.diff(found, prepend=0) * found / retrieved) / total)


def trapezoid_average_precision(distances: ArrayLike, correct: ArrayLike, *, possible: int | None = None) -> float:
    """Area under precision over recall by trapezoids, from precision 1 at recall 0: the rule of the HPatches papers.

    Arguments and errors as :func:`average_precision`. The reference implementation breaks ties in the order of
    its list; here they are one step.
    """
    found, retrieved, total = _ranking(distances, correct, possible)
    if not total:
        return float("nan")
    recall = np.concatenate([[0.0], found / total])
    precision = np.concatenate([[1.0], found / retrieved])
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1]) / 2))


def mean(values: ArrayLike) -> float:
    """Mean of those values that are numbers; NaN if none is."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if len(numbers) else float("nan")


def recall_area(errors: ArrayLike, limit: float) -> float:
    """Area under recall over error up to ``limit``, divided by ``limit``: "AUC at 3 px" of pose and homography errors.

    Recall rises in straight lines from (0, 0) through (sorted error i, (i + 1) / N), as in SuperGlue's evaluation,
    and stays flat from the last error below the limit on.

    Args:
        errors: (N,); infinity where there is no answer.
        limit: largest error, over 0.
    """
    given = np.sort(_distances(errors, "error"))
    if not len(given):
        return float("nan")
    below = given[given < limit]
    x = np.concatenate([[0.0], below, [limit]])
    y = np.arange(len(below) + 1) / len(given)
    y = np.concatenate([y, y[-1:]])
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / limit)


def _distances(values: ArrayLike, kind: str) -> NDArray[np.float64]:
    flat = np.asarray(values, np.float64).ravel()
    bad = int(np.isnan(flat).sum())
    if bad:
        raise DescriptorError(f"{bad} of {len(flat)} {kind} distances are NaN; a ranking needs numbers.")
    return flat


def _share(count: NDArray, of: int) -> NDArray[np.float64]:
    return count / of if of else np.full(len(count), np.nan)


def _ranking(
    distances: ArrayLike, correct: ArrayLike, possible: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Correct and all answers up to each distinct distance, and how many correct ones there are at all."""
    values, true = _distances(distances, "ranked"), np.asarray(correct, bool).ravel()
    if len(values) != len(true):
        raise DescriptorError(f"{len(values)} distances and {len(true)} labels: a ranking needs one for each.")
    total = int(true.sum()) if possible is None else possible
    if total < true.sum():
        raise DescriptorError(f"{int(true.sum())} answers are correct, but only {total} were said to be possible.")
    order = np.argsort(values, kind="stable")
    order = order[values[order] < np.inf]
    values, true = values[order], true[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)[: len(values)])
    return np.cumsum(true)[last].astype(np.float64), (last + 1).astype(np.float64), total
