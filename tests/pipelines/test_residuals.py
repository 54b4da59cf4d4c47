"""Distances from a known geometry: exact on made points."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.maps import TwoView
from pipelines.geometry.residuals import residuals, sampson_error

# A camera that moves one unit to the right: epipolar lines are the rows, y_b = y_a.
SIDEWAYS = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def view(config: str, **matrices: np.ndarray) -> TwoView:
    return TwoView(0, np.empty((0, 2), np.int32), config, **matrices)


def test_sampson_error_of_rows_by_hand() -> None:
    a, b = np.array([[10.0, 5, 1], [10, 5, 1]]), np.array([[3.0, 5, 1], [3, 8, 1]])
    # 3 px off the line, shared by both points: 3 / sqrt(2)
    np.testing.assert_allclose(sampson_error(a, b, SIDEWAYS), [0, 3 / np.sqrt(2)])


@pytest.mark.parametrize("config", ["CALIBRATED", "UNCALIBRATED"])
def test_what_lies_on_the_epipolar_line_is_near(config: str) -> None:
    xy = np.array([[10, 5], [20, 7]], np.float32), np.array([[1, 5.5], [4, 70]], np.float32)
    matches = np.array([[0, 0], [1, 1], [0, 1], [1, 0]], np.int32)
    kept = residuals(view(config, fundamental=SIDEWAYS), xy, matches) <= 2.0
    assert kept.tolist() == [True, False, False, True]


def test_homography_is_asked_where_the_pair_is_planar() -> None:
    twice = np.diag([2.0, 2.0, 1.0])
    xy = np.array([[10, 5], [20, 7]], np.float32), np.array([[20, 10.5], [40, 18]], np.float32)
    matches = np.array([[0, 0], [1, 1]], np.int32)
    planar = view("PLANAR_OR_PANORAMIC", homography=twice, fundamental=SIDEWAYS)
    assert (residuals(planar, xy, matches) <= 2.0).tolist() == [True, False]


def test_points_carried_to_infinity_do_not_agree() -> None:
    horizon = np.array([[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]])  # x = 10 is carried to infinity
    xy = np.array([[10, 5]], np.float32), np.array([[0, 0]], np.float32)
    planar = view("PLANAR", homography=horizon)
    assert residuals(planar, xy, np.array([[0, 0]], np.int32)).tolist() == [np.inf]


def test_without_a_geometry_everything_is_far() -> None:
    xy = np.zeros((1, 2), np.float32), np.zeros((1, 2), np.float32)
    matches = np.array([[0, 0]], np.int32)
    assert residuals(view("DEGENERATE", fundamental=SIDEWAYS), xy, matches).tolist() == [np.inf]
    nothing = residuals(view("CALIBRATED", fundamental=SIDEWAYS), xy, matches[:0])
    assert nothing.shape == (0,)
