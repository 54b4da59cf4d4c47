"""Stereo pairs with known disparities: Middlebury's folders of 2001, 2003 and 2014, and sample_data's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import InputError

_SCALES = {"cones": 4, "teddy": 4, "tsukuba": 16}
"""Grey levels of a pixel of disparity in Middlebury's sets of 2001 and 2003; 8 in all others."""


@dataclass(frozen=True)
class TruePair:
    """A rectified pair with ground truth.

    Attributes:
        name: of its folder.
        left, right: picture files.
        truth: (H,W) float32 disparities of the left picture, NaN where unknown.
        count: disparities 0 to count - 1 are tried: what the truth's format can hold, or what its calib.txt says.
    """

    name: str
    left: Path
    right: Path
    truth: NDArray[np.float32]
    count: int


def read_pairs(folder: Path) -> list[TruePair]:
    """The pairs in a folder, or in the folders in it, in the order of their names.

    Raises:
        InputError: there are none.
    """
    found = [pair for place in [folder, *sorted(folder.glob("*/"))] if (pair := _read(place)) is not None]
    if not found:
        raise InputError(
            f"There are no stereo pairs with truth in {folder}",
            "neither im2, im6 and disp2 nor im0, im1 and disp0 (PNG or PFM) were found",
            "a folder as Middlebury's, or of several of them",
        )
    return found


def _read(folder: Path) -> TruePair | None:
    import cv2

    from pipelines.stereo.calib import read_calibration
    from pipelines.stereo.products import read_pfm

    old = [folder / name for name in ("im2.png", "im6.png", "disp2.png")]
    if all(path.is_file() for path in old):
        scale = _SCALES.get(folder.name, 8)
        levels = cv2.imread(str(old[2]), cv2.IMREAD_GRAYSCALE)
        if levels is None:
            raise InputError(f"{old[2]} cannot be read", "it is no picture", "copy the folder again")
        truth = np.where(levels > 0, levels.astype(np.float32) / scale, np.nan).astype(np.float32)
        return TruePair(folder.name, old[0], old[1], truth, 256 // scale)
    for name in ("disp0GT.pfm", "disp0.pfm"):
        new = [folder / part for part in ("im0.png", "im1.png", name, "calib.txt")]
        if all(path.is_file() for path in new):
            truth = read_pfm(new[2])
            count = read_calibration(new[3]).disparities
            return TruePair(folder.name, new[0], new[1], np.where(np.isfinite(truth), truth, np.nan), count)
    return None


@dataclass(frozen=True)
class Errors:
    """Of one disparity map, over all pixels with truth, occluded and border ones included.

    Attributes:
        bad: share of pixels, in percent, that are wrong by more than 0.5, 1, 2, 4 px, or have no value.
        average: mean absolute error of those that have a value, px.
        density: share of the pixels, in percent, that were measured and not filled in.
    """

    bad: dict[str, float]
    average: float
    density: float


THRESHOLDS = ("0.5", "1", "2", "4")


def errors(values: NDArray[np.float32], measured: NDArray[np.bool_], truth: NDArray[np.float32]) -> Errors:
    """How far a disparity map (H,W), NaN where it has no value, is from the truth (H,W), NaN where unknown."""
    known = np.isfinite(truth)
    apart = np.abs(values - truth)[known]
    valued = np.isfinite(apart)
    apart = np.where(valued, apart, np.inf)
    bad = {text: 100 * float((apart > float(text)).mean()) for text in THRESHOLDS}
    average = float(apart[valued].mean()) if valued.any() else float("nan")
    return Errors(bad, average, 100 * float(measured[known].mean()))
