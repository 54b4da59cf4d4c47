"""The a-contrario test: against the formula with whole numbers, and on matches that are random or are not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.core.maps import Camera, TwoView
from pipelines.geometry.chance import log_false_alarms

SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # epipolar lines are the rows
CAMERA = Camera("SIMPLE_RADIAL", 800, 600, (700.0, 399.5, 299.5, 0.0), "prior")


def measured(xy_a: np.ndarray, xy_b: np.ndarray, view: TwoView) -> float:
    matches = np.column_stack([np.arange(len(xy_a))] * 2).astype(np.int32)
    return log_false_alarms(view, (CAMERA, CAMERA), (xy_a.astype(np.float32), xy_b.astype(np.float32)), matches)


def view(config: str) -> TwoView:
    return TwoView(0, np.empty((0, 2), np.int32), config, fundamental=SIDEWAYS, homography=np.eye(3))


def test_formula_by_whole_numbers() -> None:
    # ten matches 2 px off their row: a Sampson distance of sqrt(2) each; all ten together are the least likely
    xy = np.column_stack([np.arange(10) * 50, np.arange(10) * 40])
    least = min(
        3 * (10 - 7) * math.comb(10, k) * math.comb(k, 7) * (2 * 1000 / (800 * 600) * math.sqrt(2)) ** (k - 7)
        for k in (8, 9, 10)
    )
    assert measured(xy, xy + np.array([5, 2]), view("UNCALIBRATED")) == pytest.approx(math.log10(least), abs=1e-4)


def test_formula_of_a_homography() -> None:
    xy = np.column_stack([np.arange(9) * 50, np.arange(9) * 40])
    least = min(
        (9 - 4) * math.comb(9, k) * math.comb(k, 4) * (math.pi * 9 / (800 * 600)) ** (k - 4) for k in range(5, 10)
    )
    assert measured(xy, xy + np.array([0, 3]), view("PLANAR")) == pytest.approx(math.log10(least), abs=1e-4)


@pytest.mark.parametrize("config", ["CALIBRATED", "UNCALIBRATED", "PLANAR"])
def test_random_matches_are_chance_and_true_ones_among_them_are_not(config: str) -> None:
    rng = np.random.default_rng(5)
    xy_a, xy_b = (rng.uniform(0, 1, (200, 2)) * (800, 600) for _ in range(2))
    assert measured(xy_a, xy_b, view(config)) > 0
    xy_b[:40] = xy_a[:40] + rng.normal(0, 0.4, (40, 2))
    assert measured(xy_a, xy_b, view(config)) < -10


def test_too_few_matches_prove_nothing() -> None:
    xy = np.zeros((7, 2))
    assert measured(xy, xy, view("UNCALIBRATED")) == math.inf
    assert measured(np.zeros((20, 2)), np.zeros((20, 2)), view("DEGENERATE")) == math.inf
