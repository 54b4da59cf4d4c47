"""``recon stereo`` as a user runs it, on rendered photos with exact depth."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile

import cv2
import numpy as np
import pytest
from command import assert_refused, recon

from pipelines.images.read import scan
from pipelines.stereo.products import FILES, read_pfm


@pytest.fixture
def pair(sample_data):
    folder = sample_data / "stereo"
    return folder / "im0.png", folder / "im1.png", folder / "calib.txt"


def textured(picture) -> np.ndarray:
    """Pixels whose 9×9 window has a contrast above the sensor's noise."""
    gray = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    return np.sqrt(np.maximum(cv2.blur(gray**2, (9, 9)) - cv2.blur(gray, (9, 9)) ** 2, 0)) > 4


def true_depth(sample_data) -> tuple[np.ndarray, np.ndarray]:
    folder = sample_data / "stereo"
    depth = 0.12 * 612.0 / (read_pfm(folder / "disp0.pfm") + 9.4)
    visible = cv2.imread(str(folder / "mask0nocc.png"), cv2.IMREAD_GRAYSCALE) == 255
    return depth, visible & textured(folder / "im0.png")


def test_depth_of_the_still_life_is_right_to_one_percent(pair, sample_data, tmp_path) -> None:
    left, right, calib = pair
    outcome = recon("stereo", left, right, "--calib", calib, "-o", tmp_path, "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    assert told["depth_unit"] == "m" and told["cost"] == "swift-stereo"
    depth, judged = true_depth(sample_data)
    found = read_pfm(tmp_path / "depth.pfm")
    assert judged.mean() > 0.5
    assert (np.abs(found / depth - 1)[judged] < 0.01).mean() >= 0.95
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    photos, own = scan(tmp_path)
    assert not photos and [item.name for item in own] == sorted(name for name in FILES if name.endswith(".png"))
    disparity = read_pfm(tmp_path / "disparity.pfm")
    levels = cv2.imread(str(tmp_path / "disparity.png"), cv2.IMREAD_UNCHANGED)
    assert levels.dtype == np.uint16
    known = np.isfinite(disparity)
    np.testing.assert_allclose(levels[known] / 256 + told["png_zero"], disparity[known], atol=0.003)
    assert (levels[~known] == 0).all()
    header, points = (tmp_path / "cloud.ply").read_bytes().split(b"end_header\n", 1)
    assert f"element vertex {told['points']}".encode() in header and len(points) == 15 * told["points"]
    xyz = np.frombuffer(points, np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)]))["xyz"]
    assert (xyz[:, 2] > 0.9).all() and (xyz[:, 2] < 3).all()
    picture = cv2.imread(str(tmp_path / "depth.png"))
    assert picture.shape[0] > 480 and picture.shape[1] == 640


def test_from_intrinsics_alone_it_is_right_up_to_one_factor(pair, sample_data, tmp_path) -> None:
    left, right, _ = pair
    cameras = ("--intrinsics", "612,314.8,240.8", "--intrinsics", "612,324.2,240.8")
    outcome = recon("stereo", left, right, *cameras, "--descriptor", "census", "-o", tmp_path, "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    assert told["depth_unit"].startswith("none")
    depth, judged = true_depth(sample_data)
    rectified = np.array(told["calibration"]["rectified_from_left"])
    K = np.array(told["calibration"]["K_left"])
    y, x = np.nonzero(judged)
    rays = np.c_[(x - 314.8) / 612, (y - 240.8) / 612, np.ones(len(x))] @ rectified.T
    expected = rays[:, 2] * depth[judged]
    at = np.rint(rays[:, :2] / rays[:, 2:] * K[0, 0] + K[:2, 2]).astype(int)
    inside = (at >= 0).all(axis=1) & (at < [told["width"], told["height"]]).all(axis=1)
    found = read_pfm(tmp_path / "depth.pfm")[at[inside, 1], at[inside, 0]]
    ratio = found / expected[inside]
    assert inside.mean() > 0.9
    assert (np.abs(ratio / np.median(ratio) - 1) < 0.02).mean() > 0.9


def test_a_walking_camera_needs_no_calibration(sample_data, tmp_path) -> None:
    photos = [sample_data / "sfm" / "images" / f"courtyard_0{number}.jpg" for number in (6, 7)]
    outcome = recon("stereo", *photos, "--cost", "census", "--max-size", "640", "-o", tmp_path, "--json")
    assert outcome.code == 0, outcome
    told = json.loads(outcome.out)
    assert told["density"] > 0.5 and told["matches"] > 100


def test_of_rectified_photos_each_has_its_own_intrinsics(pair, tmp_path) -> None:
    cameras = ("--intrinsics", "612,620,314.8,240.8", "--intrinsics", "612,620,324.2,240.8")
    quick = ("--cost", "sgbm", "--rectified", "-o", tmp_path, "--json")
    told = json.loads(recon("stereo", *pair[:2], *quick, *cameras).out)
    assert told["calibration"]["K_left"] == [[612, 0, 314.8], [0, 620, 240.8], [0, 0, 1]]
    assert told["calibration"]["offset_px"] == pytest.approx(9.4) and not told["warnings"]
    told = json.loads(recon("stereo", *pair[:2], *quick).out)
    assert "one unknown factor" not in told["depth_unit"] and "--intrinsics" in told["warnings"][0]


def test_disparities_of_more_than_256_px_fit_into_the_png(pair, tmp_path) -> None:
    left, right, _ = pair
    away = tmp_path / "away.png"
    cv2.imwrite(str(away), np.roll(cv2.imread(str(right)), -250, axis=1))
    options = ("--rectified", "--disparities", "250:330", "--cost", "census", "-o", tmp_path / "out", "--json")
    told = json.loads(recon("stereo", left, away, *options).out)
    disparity = read_pfm(tmp_path / "out" / "disparity.pfm")
    known = np.isfinite(disparity)
    assert (disparity[known] > 256).mean() > 0.5
    levels = cv2.imread(str(tmp_path / "out" / "disparity.png"), cv2.IMREAD_UNCHANGED)[known]
    assert np.abs(levels / told["png_levels"] + told["png_zero"] - disparity[known]).max() < 0.01


def refusals(sample_data, tmp_path):
    """What is wrong, the words, the exit code, and what the sentence says."""
    folder = sample_data / "stereo"
    left, right, calib = folder / "im0.png", folder / "im1.png", folder / "calib.txt"
    small = tmp_path / "small.png"
    cv2.imwrite(str(small), cv2.resize(cv2.imread(str(right)), (600, 450)))
    copy = tmp_path / "copy.png"
    shutil.copy(left, copy)
    other = tmp_path / "other.png"
    cv2.imwrite(
        str(other), cv2.resize(cv2.imread(str(sample_data / "sfm" / "images" / "courtyard_03.jpg")), (640, 480))
    )
    lifted = tmp_path / "lifted.png"
    cv2.imwrite(str(lifted), np.roll(cv2.imread(str(right)), 9, axis=0))
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(calib.read_text().replace("width=640", "width=800"))
    turned = [sample_data / "panorama" / "images" / f"pano_{number}.jpg" for number in (2, 3)]
    given = ("--calib", calib)
    fisheye = tmp_path / "fisheye.txt"
    fisheye.write_text("1 SIMPLE_FISHEYE 640 480 612 320 240\n")
    far = [sample_data / "sfm" / "images" / f"courtyard_{number}.jpg" for number in ("01", "12")]
    return {
        "swapped": ((right, left, *given), 3, "swapped"),
        "sizes": ((left, small, *given), 3, "different sizes"),
        "overlap": ((left, other, *given), 4, "same scene"),
        "overlap, no calibration": ((left, other), 4, "same scene"),
        "identical": ((left, copy, *given), 3, "identical"),
        "twice": ((left, left), 3, "identical"),
        "size of calib": ((left, right, "--calib", wrong), 3, "800 x 480"),
        "calib of others": ((left, lifted, *given), 3, "same row"),
        "no calib": ((left, right, "--calib", left), 3, "cannot be read"),
        "range": ((left, right, *given, "--disparities", "0:700"), 2, "larger than the picture"),
        "no range": ((left, right, *given, "--disparities", "30:10"), 2, "cannot be used"),
        "turned": (tuple(turned), 5, "only turned"),
        "fisheye": ((left, right, "--intrinsics", fisheye), 2, "SIMPLE_FISHEYE"),
        "calib and rectified": ((left, right, *given, "--rectified"), 2, "--calib and --rectified"),
        "calib and intrinsics": ((left, right, *given, "--intrinsics", "612,320,240"), 2, "--calib and --intrinsics"),
        "no baseline": ((left, right, "--rectified", "--baseline", "nan"), 2, "finite"),
        "too far apart": ((*far, "--max-size", "300"), 5, "too far apart"),
        "too far apart, large": (tuple(far), 2, "too far apart"),
        "cost": ((left, right, *given, "--cost", "cencus"), 2, "cencus"),
    }


CASES = (
    "swapped", "sizes", "overlap", "overlap, no calibration", "identical", "twice", "size of calib", "calib of others",
    "no calib", "range", "no range", "turned", "fisheye", "calib and rectified", "calib and intrinsics",
    "no baseline", "too far apart", "too far apart, large", "cost",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_told_in_one_sentence(case, sample_data, tmp_path) -> None:
    words, code, says = refusals(sample_data, tmp_path)[case]
    cost = () if case == "cost" else ("--cost", "census")
    outcome = recon("stereo", *words, *cost, "-o", tmp_path / "out", "-q")
    assert_refused(outcome, code, says)
    assert not (tmp_path / "out").exists()


def test_photos_named_as_the_products_are_not_overwritten(pair, tmp_path) -> None:
    left, right = (
        shutil.copy(photo, tmp_path / f"{side}.png") for photo, side in zip(pair[:2], ("left", "right"), strict=True)
    )
    assert_refused(recon("stereo", left, right, "--calib", pair[2], "-o", tmp_path), 2, "overwrite the photo")
    assert [photo.read_bytes() for photo in (left, right)] == [photo.read_bytes() for photo in pair[:2]]
    assert len(list(tmp_path.iterdir())) == 2


def test_files_of_others_are_not_replaced_and_earlier_products_are(pair, tmp_path) -> None:
    quick = ("stereo", *pair[:2], "--calib", pair[2], "--cost", "census", "--max-size", "200", "-o", tmp_path)
    (tmp_path / "right.png").write_text("a picture of somebody")
    assert_refused(recon(*quick), 6, "right.png that recon stereo did not make", "--out")
    assert (tmp_path / "right.png").read_text() == "a picture of somebody" and len(list(tmp_path.iterdir())) == 1
    (tmp_path / "right.png").unlink()
    assert recon(*quick).code == 0
    (tmp_path / "stereo.json").unlink()  # as of a run that was killed
    assert recon(*quick).code == 0 and (tmp_path / "stereo.json").is_file()


def test_products_need_no_room_beside_their_folder(pair, tmp_path, monkeypatch) -> None:
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    quick = ("--cost", "census", "--max-size", "200", "-o", tmp_path / "out")
    outcome = recon("stereo", *pair[:2], "--calib", pair[2], *quick)
    assert outcome.code == 0, outcome
