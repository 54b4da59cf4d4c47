"""The scores against values worked out by hand, their definition, and scikit-learn where it is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from descriptors.benchmarks import scores
from descriptors.contract import DescriptorError


def made(rng, ties):
    positive, negative = rng.normal(1.0, 0.3, 400), rng.normal(1.6, 0.4, 700)
    return (np.round(positive, 1), np.round(negative, 1)) if ties else (positive, negative)


@pytest.mark.parametrize("ties", [False, True])
def test_curves_equal_their_definition_threshold_by_threshold(rng, ties):
    positive, negative = made(rng, ties)
    labels, distances = np.r_[np.ones(400), np.zeros(700)].astype(bool), np.r_[positive, negative]
    points, precise, recall = [(0.0, 0.0)], 0.0, 0.0
    for threshold in sorted(set(distances.tolist())):
        accepted = distances <= threshold
        true = (accepted & labels).sum() / 400
        points.append(((accepted & ~labels).sum() / 700, true))
        precise += (true - recall) * (accepted & labels).sum() / accepted.sum()
        recall = true
    curve = scores.roc(positive, negative)
    np.testing.assert_allclose(np.c_[curve.fpr, curve.tpr], points)
    assert scores.fpr95(positive, negative) == pytest.approx(next(f for f, t in points if t >= 0.95))
    assert scores.average_precision(distances, labels) == pytest.approx(precise)
    order = rng.permutation(1100)
    assert scores.average_precision(distances[order], labels[order]) == pytest.approx(precise)
    # Twice as many possible halves every recall step.
    assert scores.average_precision(distances, labels, possible=800) == pytest.approx(precise / 2)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_equals_scikit_learn(rng, ties):
    metrics = pytest.importorskip("sklearn.metrics")
    positive, negative = made(rng, ties)
    labels = np.r_[np.ones(400), np.zeros(700)]
    distances = np.r_[positive, negative]
    fpr, tpr, _ = metrics.roc_curve(labels, -distances, drop_intermediate=False)
    curve = scores.roc(positive, negative)
    np.testing.assert_allclose(curve.fpr, fpr)
    np.testing.assert_allclose(curve.tpr, tpr)
    assert curve.area == pytest.approx(metrics.roc_auc_score(labels, -distances))
    assert scores.fpr95(positive, negative) == pytest.approx(fpr[np.argmax(tpr >= 0.95)])


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_equals_scikit_learn(rng, ties):
    metrics = pytest.importorskip("sklearn.metrics")
    positive, negative = made(rng, ties)
    labels = np.r_[np.ones(400), np.zeros(700)].astype(bool)
    distances = np.r_[positive, negative]
    expected = metrics.average_precision_score(labels, -distances)
    assert scores.average_precision(distances, labels) == pytest.approx(expected)


def test_roc_area_is_the_chance_that_a_positive_is_nearer(rng):
    positive, negative = made(rng, ties=True)
    nearer = (positive[:, None] < negative[None]) + 0.5 * (positive[:, None] == negative[None])
    assert scores.roc_area(positive, negative) == pytest.approx(nearer.mean())


def test_fpr95_by_hand():
    # 20 positives: recall 0.95 is reached with the 19th, at distance 19; two of five negatives are as near.
    positive, negative = np.arange(1, 21), [5, 19, 19.5, 30, 31]
    assert scores.fpr95(positive, negative) == pytest.approx(2 / 5)
    # A tie at the threshold lets all of it through.
    assert scores.fpr95([1] * 18 + [2, 2], [2, 2, 3, 4]) == pytest.approx(0.5)
    assert scores.fpr95([1, 1], [1, 1, 1]) == 1.0


def test_average_precision_by_hand():
    # right, wrong, right: (1/1 + 2/3) / 2.
    assert scores.average_precision([1, 2, 3], [1, 0, 1]) == pytest.approx((1 + 2 / 3) / 2)
    # all at one distance: one step with precision 2/3.
    assert scores.average_precision([1, 1, 1], [1, 0, 1]) == pytest.approx(2 / 3)
    # what is never retrieved counts as possible only.
    assert scores.average_precision([1, np.inf], [1, 1]) == pytest.approx(0.5)
    assert scores.average_precision([1, 2], [0, 0], possible=3) == 0.0


def test_trapezoid_average_precision_by_hand():
    # precision 1, 1, 1/2, 2/3 at recall 0, 1/2, 1/2, 1.
    assert scores.trapezoid_average_precision([1, 2, 3], [1, 0, 1]) == pytest.approx(0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)
    assert scores.trapezoid_average_precision([1, 2], [1, 1], possible=4) == pytest.approx(0.5)
    assert scores.trapezoid_average_precision([1, 2], [0, 1]) == pytest.approx((0 + 1 / 2) / 2)


def test_recall_area_by_hand():
    # errors 1 and 3 of three answers, one without: straight from 0 to 1/3 at 1, to 2/3 at 3, flat to 4.
    area = (0.5 * 1 / 3) + 2 * (1 / 3 + 2 / 3) / 2 + 1 * 2 / 3
    assert scores.recall_area([3, np.inf, 1], 4) == pytest.approx(area / 4)
    assert scores.recall_area([5, 6], 3) == 0.0
    assert scores.recall_area([0, 0], 3) == 1.0


def test_nothing_to_score_is_nan():
    assert math.isnan(scores.fpr95([], [1.0])) and math.isnan(scores.fpr95([1.0], []))
    assert math.isnan(scores.roc_area([], []))
    assert math.isnan(scores.average_precision([], [])) and math.isnan(scores.average_precision([1], [0]))
    assert scores.average_precision([], [], possible=2) == 0.0
    assert scores.average_precision([np.inf], [1]) == 0.0
    assert scores.trapezoid_average_precision([], [], possible=2) == 0.0
    assert math.isnan(scores.recall_area([], 3)) and math.isnan(scores.mean([]))
    assert scores.mean([1, np.nan, 3]) == 2.0


@pytest.mark.parametrize(
    "call",
    [
        lambda: scores.roc([np.nan], [1]),
        lambda: scores.average_precision([np.nan, 1], [1, 0]),
        lambda: scores.average_precision([1, 2], [1]),
        lambda: scores.average_precision([1, 2], [1, 1], possible=1),
    ],
)
def test_bad_input_is_named(call):
    with pytest.raises(DescriptorError):
        call()
