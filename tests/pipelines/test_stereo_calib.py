"""Calibrations in the forms of Middlebury, OpenCV and KITTI, and rectification against projected points."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipelines.core.errors import InputError, NoModelError
from pipelines.stereo.calib import Calibration, Lens, read_calibration
from pipelines.stereo.rectify import rectification, resized

K = np.array([[800.0, 0, 310], [0, 790, 245], [0, 0, 1]])


def turned(*angles: float) -> np.ndarray:
    return np.asarray(cv2.Rodrigues(np.radians(angles))[0])


def test_middlebury(sample_data) -> None:
    found = read_calibration(sample_data / "stereo" / "calib.txt")
    assert found.rectified and found.unit == "m" and found.size == (640, 480)
    assert (found.focal, found.baseline, found.offset) == pytest.approx((612.0, 0.12, 9.4))


def test_kitti(tmp_path) -> None:
    path = tmp_path / "calib.txt"
    rows = {"P0": 0.0, "P1": -386.1448, "P2": 44.85728, "P3": -339.5242}
    path.write_text(
        "".join(f"{name}: 721.5377 0 609.5593 {shift} 0 721.5377 172.854 0 0 0 1 0\n" for name, shift in rows.items())
    )
    found = read_calibration(path)
    assert found.baseline == pytest.approx((44.85728 + 339.5242) / 721.5377) and found.offset == 0
    path.write_text(path.read_text().replace("-386.1448", "386.1448").split("P2")[0])
    with pytest.raises(InputError, match="not to the right"):
        read_calibration(path)


@pytest.fixture
def opencv_file(tmp_path):
    path = tmp_path / "stereo.yml"
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    matrices = {"M1": K, "D1": np.array([[-0.1, 0.02, 0.001, 0, 0]]), "M2": K, "D2": np.zeros((1, 5)),
                "R": turned(1, 3, -2), "T": np.array([[-0.2], [0.01], [0.02]])}  # fmt: skip
    for name, matrix in matrices.items():
        store.write(name, matrix)
    store.release()
    return path, matrices


def test_opencv(opencv_file) -> None:
    path, matrices = opencv_file
    found = read_calibration(path)
    assert not found.rectified
    for given, read in ((matrices["R"], found.R), (matrices["T"].ravel(), found.t), (K, found.right.K)):
        np.testing.assert_allclose(read, given)
    np.testing.assert_allclose(found.left.distortion, matrices["D1"].ravel())


def test_opencv_rectified(tmp_path) -> None:
    store = cv2.FileStorage(str(tmp_path / "extrinsics.yml"), cv2.FILE_STORAGE_WRITE)
    store.write("P1", np.c_[K, np.zeros(3)])
    store.write("P2", np.c_[K, [-160.0, 0, 0]])
    store.release()
    found = read_calibration(tmp_path / "extrinsics.yml")
    assert found.rectified and (found.focal, found.baseline) == pytest.approx((800, 0.2))


TWO = "cam0=[9 0 1; 0 9 1; 0 0 1]\ncam1=[9 0 1; 0 9 1; 0 0 1]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cam0=[1 0 0; 0 1 0; 0 0 1]\nbaseline=3\n", "lacks cam1"),
        ("cam0=[1 0 0; 0 1 0]\ncam1=[1 0 0; 0 1 0; 0 0 1]\nbaseline=3\n", "6 numbers"),
        (f"{TWO}baseline=-3\n", "baseline"),
        (f"{TWO}baseline=nan\n", "baseline has numbers that are not finite"),
        (f"{TWO}baseline=3\ndoffs=inf\n", "doffs has numbers that are not finite"),
        (f"{TWO}baseline=3\nndisp=-5\n", "its ndisp is -5"),
        ("%YAML:1.0\nM1: !!opencv-matrix\n  rows: 1\n  cols: 1\n  dt: d\n  data: [ 1. ]\n", "M1 and M2"),
        ("a grocery list", "form is not known"),
    ],
)
def test_a_wrong_file_is_told(tmp_path, text: str, says: str) -> None:
    path = tmp_path / "calib.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        read_calibration(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_calibration(tmp_path / "none.txt")


@pytest.mark.parametrize("centre", [(0.2, 0.01, 0.02), (0.02, 0.2, -0.01)], ids=["beside", "below"])
def test_points_come_to_lie_in_the_same_row_at_their_disparity(centre) -> None:
    R = turned(2, -4, 3)
    left, right = Lens(K, np.array([-0.12, 0.03, 0.001, -0.001])), Lens(1.05 * K / [[1], [1], [1.05]], np.zeros(0))
    given = Calibration(left, right, R, -R @ np.array(centre), False)
    made = rectification(given, (640, 480))
    rng = np.random.default_rng(0)
    points = np.c_[rng.uniform(-0.6, 0.6, (200, 2)), rng.uniform(2, 6, 200)]
    a = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, left.distortion)[0].reshape(-1, 2)
    b = cv2.projectPoints(points, cv2.Rodrigues(R)[0], given.t, right.K, None)[0].reshape(-1, 2)
    first, second = made.left.points(a), made.right.points(b)
    np.testing.assert_allclose(first[:, 1], second[:, 1], atol=0.01)
    depth = (points @ made.left.R.T)[:, 2]
    told = made.calibration.focal * made.calibration.baseline / (first[:, 0] - second[:, 0] + made.calibration.offset)
    np.testing.assert_allclose(told, depth, rtol=1e-3)
    inside = (a > 20).all(axis=1) & (a < [620, 460]).all(axis=1)
    assert (first[inside] > -60).all() and (first[inside] < np.array(made.size) + 60).all()


def test_a_picture_is_rectified_as_its_points_are() -> None:
    R = turned(0, -3, 8)
    made = rectification(Calibration(Lens(K), Lens(K), R, -R @ np.array([0.2, 0, 0]), False), (640, 480))
    pixels = np.zeros((480, 640, 3), np.uint8)
    cv2.circle(pixels, (300, 200), 6, (255, 255, 255), -1)
    picture, inside = made.right.picture(pixels, made.size)
    y, x = (np.average(axis, weights=picture[:, :, 0]) for axis in np.mgrid[: picture.shape[0], : picture.shape[1]])
    np.testing.assert_allclose(made.right.points(np.array([[300.0, 200.0]]))[0], (x, y), atol=0.3)
    assert 0.5 < inside.mean() < 1


def test_forward_motion_and_swapped_cameras_are_named() -> None:
    lens = Lens(K)
    with pytest.raises(NoModelError, match="moved forwards"):
        rectification(Calibration(lens, lens, np.eye(3), np.array([0.02, 0, -1.0]), False), (640, 480))
    with pytest.raises(InputError, match="swapped"):
        rectification(Calibration(lens, lens, np.eye(3), np.array([0.3, 0, 0.0]), False), (640, 480))


def test_a_smaller_picture_has_a_smaller_camera() -> None:
    given = Calibration(Lens(K), Lens(K), np.eye(3), np.array([-1.0, 0, 0]), True, disparities=65)
    made = resized(given, (2.0, 2.0))
    assert made.disparities == 33 and made.focal == 400
    ray = np.array([0.3, -0.2, 1.0])
    np.testing.assert_allclose(made.left.K @ ray, [*((K @ ray)[:2] + 0.5) / 2 - 0.5, 1])
