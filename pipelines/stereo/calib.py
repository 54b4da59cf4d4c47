"""Calibrations of stereo cameras as others write them: Middlebury's calib.txt, OpenCV's YAML, KITTI's calib files.

Pixels: the centre of the top-left one is (0, 0) in all of them. Poses: x_right = R x_left + t.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Lens:
    """One camera.

    Attributes:
        K: (3,3) intrinsics.
        distortion: OpenCV's coefficients k1 k2 p1 p2 [k3 …]; empty without any.
    """

    K: Matrix
    distortion: Matrix = field(default_factory=lambda: np.zeros(0))

    @property
    def coefficients(self) -> Matrix | None:
        """The distortion as OpenCV's functions take it: None without any."""
        return self.distortion if self.distortion.size else None


@dataclass(frozen=True)
class Calibration:
    """A stereo camera.

    Attributes:
        left, right: cameras.
        R, t: (3,3), (3,) pose of the right camera, in units of ``unit``.
        rectified: whether rows already correspond: no distortion, R = I, t along -x.
        size: (width, height) of the photos, None if the file does not say.
        disparities: number of disparities that the file names, 0 if none.
        unit: of depths: ``m``, or empty if the scale is unknown.
        source: the file, or how it was found.
        guessed: whether a focal length in it is a guess, so that depths may be wrong by more than one factor.
    """

    left: Lens
    right: Lens
    R: Matrix
    t: Matrix
    rectified: bool
    size: tuple[int, int] | None = None
    disparities: int = 0
    unit: str = "m"
    source: str = ""
    guessed: bool = False

    @property
    def focal(self) -> float:
        """Of a rectified pair, px."""
        return float(self.left.K[0, 0])

    @property
    def baseline(self) -> float:
        """Distance of the centres."""
        return float(np.linalg.norm(self.t))

    @property
    def offset(self) -> float:
        """Of a rectified pair, px: depth = focal * baseline / (disparity + offset)."""
        return float(self.right.K[0, 2] - self.left.K[0, 2])


def rectified_calibration(K_left: Matrix, K_right: Matrix, baseline: float, **more: object) -> Calibration:
    """A calibration of a pair whose rows correspond."""
    t = np.array([-baseline, 0.0, 0.0])
    return Calibration(Lens(K_left), Lens(K_right), np.eye(3), t, True, **more)  # type: ignore[arg-type]


def read_calibration(path: Path) -> Calibration:
    """Read a calibration, whichever of the known forms it has.

    Raises:
        InputError: no file, an unknown form, or a form that lacks something.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(f"The calibration {path} cannot be read", reason or "", "check the name") from error
    for known, reader in _READERS:
        if known.search(text):
            try:
                return reader(text, path)
            except (KeyError, ValueError, IndexError) as error:
                missing = f"it lacks {error.args[0]}" if isinstance(error, KeyError) else str(error)
                raise InputError(f"The calibration {path} cannot be used", missing, _ADVICE) from error
    raise InputError(f"The calibration {path} cannot be used", "its form is not known", _ADVICE)


_ADVICE = "Middlebury's calib.txt (cam0=…), OpenCV's YAML (M1 D1 M2 D2 R T, or P1 P2) or KITTI's (P0: …)"


def _values(text: str, count: int, name: str) -> Matrix:
    numbers = np.array([float(word) for word in re.split(r"[\s,;\[\]]+", text) if word])
    if len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} numbers, not {count}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return numbers


def _camera(K: Matrix, name: str) -> Matrix:
    if K[0, 0] <= 0 or K[1, 1] <= 0 or abs(K[2, 2] - 1) > 1e-6:
        raise ValueError(f"{name} is no camera matrix")
    return K


def _middlebury(text: str, path: Path) -> Calibration:
    """Middlebury 2014: cam0, cam1, doffs, baseline (mm), width, height, ndisp."""
    found = dict(re.findall(r"^\s*(\w+)\s*=\s*(.+?)\s*$", text, re.MULTILINE))
    left, right = (_camera(_values(found[name], 9, name).reshape(3, 3), name) for name in ("cam0", "cam1"))
    baseline = float(_values(found["baseline"], 1, "baseline")[0]) / 1000
    if baseline <= 0:
        raise ValueError(f"its baseline is {baseline:g}")
    right = right.copy()
    if "doffs" in found:
        right[0, 2] = left[0, 2] + _values(found["doffs"], 1, "doffs")[0]
    disparities = int(found.get("ndisp", 0))
    if disparities < 0:
        raise ValueError(f"its ndisp is {disparities}")
    size = (int(found["width"]), int(found["height"])) if {"width", "height"} <= found.keys() else None
    return rectified_calibration(left, right, baseline, size=size, disparities=disparities, source=str(path))


def _kitti(text: str, path: Path) -> Calibration:
    """KITTI: projection matrices P0 and P1 (grey) or P2 and P3 (colour) of rectified cameras, metres."""
    found = dict(re.findall(r"^\s*(P(?:_rect_0)?[0-3])\s*:\s*(.+?)\s*$", text, re.MULTILINE))
    found = {name[0] + name[-1]: value for name, value in found.items()}
    first, second = ("P2", "P3") if {"P2", "P3"} <= found.keys() else ("P0", "P1")
    projections = [_values(found[name], 12, name).reshape(3, 4) for name in (first, second)]
    left, right = (_camera(P[:, :3], name) for P, name in zip(projections, (first, second), strict=True))
    baseline = float(projections[0][0, 3] / left[0, 0] - projections[1][0, 3] / right[0, 0])
    if baseline <= 0:
        raise ValueError(f"{second} lies not to the right of {first}")
    return rectified_calibration(left, right, baseline, source=str(path))


_NAMES = {
    "K1": ("M1", "K1", "cameraMatrix1", "camera_matrix_1", "KL", "left_camera_matrix"),
    "D1": ("D1", "distCoeffs1", "dist_1", "DL", "left_distortion"),
    "K2": ("M2", "K2", "cameraMatrix2", "camera_matrix_2", "KR", "right_camera_matrix"),
    "D2": ("D2", "distCoeffs2", "dist_2", "DR", "right_distortion"),
    "R": ("R", "rotation"),
    "t": ("T", "t", "translation"),
    "P1": ("P1",),
    "P2": ("P2",),
}
"""Names under which OpenCV's samples and users store the matrices."""


def _opencv(text: str, path: Path) -> Calibration:
    """OpenCV's FileStorage: M1 D1 M2 D2 R T of stereoCalibrate, or P1 P2 of stereoRectify."""
    found = _matrices(text)

    def matrix(name: str) -> Matrix | None:
        return next((found[alias] for alias in _NAMES[name] if alias in found), None)

    size = re.search(r"(?:image_width|width)\s*:\s*(\d+)[\s\S]*?(?:image_height|height)\s*:\s*(\d+)", text)
    about: dict[str, object] = {"source": str(path), "size": (int(size[1]), int(size[2])) if size else None}
    first, second = matrix("K1"), matrix("K2")
    if first is None or second is None:
        left, right = matrix("P1"), matrix("P2")
        if left is None or right is None:
            raise KeyError("M1 and M2, or P1 and P2")
        baseline = float(-right[0, 3] / right[0, 0])
        if baseline <= 0:
            raise ValueError("P2 lies not to the right of P1")
        return rectified_calibration(_camera(left[:, :3], "P1"), _camera(right[:, :3], "P2"), baseline, **about)
    R, t = matrix("R"), matrix("t")
    if R is None or t is None:
        raise KeyError("R and T")
    R = R if R.shape == (3, 3) else _rotation(R)
    if abs(np.linalg.det(R) - 1) > 1e-3 or np.abs(R @ R.T - np.eye(3)).max() > 1e-3:
        raise ValueError("R is no rotation")
    if not np.linalg.norm(t) > 0:
        raise ValueError("T is 0")
    distortions = [np.zeros(0) if one is None else one.ravel() for one in (matrix("D1"), matrix("D2"))]
    lenses = [Lens(_camera(K, name), D) for K, D, name in zip((first, second), distortions, ("M1", "M2"), strict=True)]
    return Calibration(lenses[0], lenses[1], R, t.ravel(), False, **about)  # type: ignore[arg-type]


def _rotation(vector: Matrix) -> Matrix:
    import cv2

    if vector.size != 3:
        raise ValueError("R is no rotation")
    return np.asarray(cv2.Rodrigues(vector.ravel())[0])


def _matrices(text: str) -> dict[str, Matrix]:
    """Every ``!!opencv-matrix`` of a file, by name; written by hand too, without OpenCV's header."""
    head = r"^\s*(\w+)\s*:\s*(?:!!opencv-matrix)?\s*\n?\s*rows\s*:\s*(\d+)\s+cols\s*:\s*(\d+)"
    pattern = head + r"[\s\S]*?data\s*:\s*\[([^\]]*)\]"
    found = {}
    for name, rows, columns, data in re.findall(pattern, text, re.MULTILINE):
        found[name] = _values(data, int(rows) * int(columns), name).reshape(int(rows), int(columns))
    return found


_READERS: tuple[tuple[re.Pattern[str], Callable[[str, Path], Calibration]], ...] = (
    (re.compile(r"^\s*cam0\s*=", re.MULTILINE), _middlebury),
    (re.compile(r"%YAML|opencv-matrix", re.MULTILINE), _opencv),
    (re.compile(r"^\s*P(_rect_0)?[0-3]\s*:", re.MULTILINE), _kitti),
)
