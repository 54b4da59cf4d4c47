"""The committed pictures agree with the committed truth, and the program still makes them."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import pytest
from PIL import Image

LIMIT = 8_000_000
"""Bytes that all rendered files may take."""
SETS = ("sfm", "query", "panorama", "stereo", "objects")


@dataclass(frozen=True)
class Photo:
    """A committed photo with its truth and its SIFT keypoints, (N, 2) and (N, 128)."""

    name: str
    K: np.ndarray
    cam_from_world: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        return -self.cam_from_world[:, :3].T @ self.cam_from_world[:, 3]


def sift(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    keypoints, descriptors = cv2.SIFT_create(count).detectAndCompute(grey, None)
    return np.array([k.pt for k in keypoints]), descriptors


def load(folder: Path, count: int = 3000) -> list[Photo]:
    record = json.loads((folder / "cameras.json").read_text())["photos"]
    return [
        Photo(name, np.array(r["K"]), np.array(r["cam_from_world"]), *sift(folder / "images" / name, count))
        for name, r in record.items()
    ]


def match(first: np.ndarray, second: np.ndarray, ratio: float = 0.75) -> np.ndarray:
    """Index pairs (N, 2) that pass the ratio test."""
    pairs = cv2.BFMatcher().knnMatch(first, second, k=2)
    return np.array([(a.queryIdx, a.trainIdx) for a, b in pairs if a.distance < ratio * b.distance]).reshape(-1, 2)


@pytest.fixture(scope="module")
def arc(sample_data: Path) -> list[Photo]:
    return load(sample_data / "sfm")


def lift(photo: Photo, folder: Path, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points (N, 3) under pixels (N, 2) by the depth map, and where it is smooth enough to be read there."""
    record = json.loads((folder / "cameras.json").read_text())["depth"]
    levels = cv2.imread(str(folder / record["folder"] / f"{Path(photo.name).stem}.png"), cv2.IMREAD_UNCHANGED)
    assert levels.dtype == np.uint16
    depth = levels.astype(np.float32) * record["metres_per_level"]
    at = (points / record["stride"]).astype(np.float32)
    z = cv2.remap(depth, at[:, 0], at[:, 1], cv2.INTER_LINEAR).ravel()
    low = cv2.remap(cv2.erode(depth, np.ones((3, 3))), at[:, 0], at[:, 1], cv2.INTER_NEAREST).ravel()
    high = cv2.remap(cv2.dilate(depth, np.ones((3, 3))), at[:, 0], at[:, 1], cv2.INTER_NEAREST).ravel()
    rays = np.column_stack([points, np.ones(len(points))]) @ np.linalg.inv(photo.K).T
    world = (rays * z[:, None] - photo.cam_from_world[:, 3]) @ photo.cam_from_world[:, :3]
    return world, (low > 0) & (high < 1.1 * low)


def project(photo: Photo, world: np.ndarray) -> np.ndarray:
    pixels = (world @ photo.cam_from_world[:, :3].T + photo.cam_from_world[:, 3]) @ photo.K.T
    return pixels[:, :2] / pixels[:, 2:]


def test_size(sample_data: Path) -> None:
    files = [p for name in SETS for p in (sample_data / name).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= LIMIT


def test_sfm_has_twelve_textured_photos(arc: list[Photo], sample_data: Path) -> None:
    assert len(arc) == 12
    assert len(list((sample_data / "sfm" / "images").iterdir())) == 12
    assert min(len(p.points) for p in arc) >= 2900


def test_matches_follow_depth_and_poses(arc: list[Photo], sample_data: Path) -> None:
    for first, second in ((0, 1), (2, 5), (6, 7), (8, 11)):
        a, b = arc[first], arc[second]
        pairs = match(a.descriptors, b.descriptors)
        world, smooth = lift(a, sample_data / "sfm", a.points[pairs[:, 0]])
        error = np.linalg.norm(project(b, world) - b.points[pairs[:, 1]], axis=1)[smooth]
        assert len(error) > 300
        assert np.median(error) < 0.5, (first, second)
        assert np.mean(error < 2) > 0.85, (first, second)


def test_arc_is_connected_with_parallax(arc: list[Photo], sample_data: Path) -> None:
    for a, b in itertools.pairwise(arc):
        pairs = match(a.descriptors, b.descriptors)
        first, second = a.points[pairs[:, 0]], b.points[pairs[:, 1]]
        _, inliers = cv2.findEssentialMat(first, second, a.K, method=cv2.USAC_MAGSAC, threshold=1.0)
        assert np.count_nonzero(inliers) > 300, (a.name, b.name)
        world, smooth = lift(a, sample_data / "sfm", first)
        rays = [(p.centre - world[smooth]) / np.linalg.norm(p.centre - world[smooth], axis=1)[:, None] for p in (a, b)]
        angle = np.rad2deg(np.arccos(np.clip(np.sum(rays[0] * rays[1], axis=1), -1, 1)))
        assert np.median(angle) > 4, (a.name, b.name)
        depth = world[smooth] @ a.cam_from_world[2, :3] + a.cam_from_world[2, 3]
        assert np.percentile(depth, 95) > 1.3 * np.percentile(depth, 5)


def test_queries_match_the_arc(arc: list[Photo], sample_data: Path) -> None:
    queries = load(sample_data / "query")
    assert len(queries) == 2
    assert queries[1].K[0, 0] > 1.2 * queries[0].K[0, 0]
    reference = arc[5]
    for query in queries:
        pairs = match(reference.descriptors, query.descriptors)
        world, smooth = lift(reference, sample_data / "sfm", reference.points[pairs[:, 0]])
        error = np.linalg.norm(project(query, world) - query.points[pairs[:, 1]], axis=1)[smooth]
        assert len(error) > 200
        assert np.median(error) < 0.8, query.name


def test_exif_agrees_with_truth(arc: list[Photo], sample_data: Path) -> None:
    record = json.loads((sample_data / "sfm" / "cameras.json").read_text())
    origin = tuple(record["gps_origin"][key] for key in ("latitude", "longitude", "height"))
    earth = pycolmap.GPSTransform()
    for photo in arc:
        with Image.open(sample_data / "sfm" / "images" / photo.name) as image:
            exif = image.getexif()
            assert image.size == (1024, 768)
        details, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        assert exif[271] and exif[272] and exif[306]
        assert details[41989] / 36 * 1024 == pytest.approx(photo.K[0, 0], rel=0.03)
        assert float(details[37386]) / 6.17 * 1024 == pytest.approx(photo.K[0, 0], rel=0.03)
        degrees = [sum(float(v) / 60**k for k, v in enumerate(place[tag])) for tag in (2, 4)]
        geodetic = np.array([[*degrees, float(place[6])]])
        east_north_up = earth.ellipsoid_to_enu(geodetic, *origin)[0]
        assert np.linalg.norm(east_north_up - photo.centre) < 0.005


def read_pfm(path: Path) -> np.ndarray:
    kind, size, scale, data = path.read_bytes().split(b"\n", 3)
    assert kind == b"Pf"
    assert float(scale) < 0
    width, height = map(int, size.split())
    return np.flipud(np.frombuffer(data, "<f4").reshape(height, width))


def test_stereo_pair_agrees_with_disparity(sample_data: Path) -> None:
    folder = sample_data / "stereo"
    left, right = (cv2.imread(str(folder / n), cv2.IMREAD_GRAYSCALE).astype(np.float32) for n in ("im0.png", "im1.png"))
    disparity = read_pfm(folder / "disp0.pfm")
    mask = cv2.imread(str(folder / "mask0nocc.png"), cv2.IMREAD_GRAYSCALE)
    entries = dict(line.split("=") for line in (folder / "calib.txt").read_text().splitlines())
    assert left.shape == right.shape == disparity.shape == (int(entries["height"]), int(entries["width"]))
    assert float(entries["vmin"]) <= disparity.min() < disparity.max() <= float(entries["vmax"]) < int(entries["ndisp"])
    K0, K1 = (np.array([r.split() for r in entries[k].strip("[]").split(";")], float) for k in ("cam0", "cam1"))
    assert K1[0, 2] - K0[0, 2] == pytest.approx(float(entries["doffs"]))
    depth = float(entries["baseline"]) * K0[0, 0] / (disparity + float(entries["doffs"]))
    assert 900 < depth.min() < depth.max() < 3200
    assert set(np.unique(mask)) == {128, 255}
    x, y = np.meshgrid(np.arange(left.shape[1], dtype=np.float32), np.arange(left.shape[0], dtype=np.float32))

    def mismatch(shift: float) -> float:
        warped = cv2.remap(
            right, (x - disparity + shift).astype(np.float32), y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return float(np.abs(warped - left)[mask == 255].mean())

    assert mismatch(0) < 4
    best = min(np.arange(-1, 1.01, 0.25), key=mismatch)
    assert best == 0
    hidden = cv2.erode((mask == 128).astype(np.uint8), np.ones((3, 3))) > 0
    warped = cv2.remap(right, x - disparity, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(warped - left)[hidden].mean() > 3 * mismatch(0)


def test_panorama_turns_about_one_point(sample_data: Path) -> None:
    photos = load(sample_data / "panorama")
    gains = json.loads((sample_data / "panorama" / "cameras.json").read_text())["gains_rgb"]
    assert len(photos) == 5
    assert max(g[1] for g in gains.values()) > 1.4 * min(g[1] for g in gains.values())
    for a, b in itertools.pairwise(photos):
        np.testing.assert_allclose(a.centre, photos[0].centre, atol=1e-9)
        pairs = match(a.descriptors, b.descriptors)
        H = b.K @ b.cam_from_world[:, :3] @ a.cam_from_world[:, :3].T @ np.linalg.inv(a.K)
        moved = cv2.perspectiveTransform(a.points[None, pairs[:, 0]], H)[0]
        error = np.linalg.norm(moved - b.points[pairs[:, 1]], axis=1)
        assert np.count_nonzero(error < 2) > 100, (a.name, b.name)
        assert np.median(error) < 0.5, (a.name, b.name)


def test_objects_lie_where_the_truth_says(sample_data: Path) -> None:
    folder = sample_data / "objects"
    record = json.loads((folder / "scene.json").read_text())
    points, descriptors = sift(folder / "scene.jpg", 0)
    assert len(points) > 3000
    pictures = {p.name: sift(p, 0) for p in sorted((folder / "pictures").iterdir())}
    assert len(pictures) == 3
    assert len(record["instances"]) == 2
    for instance in record["instances"]:
        own, own_descriptors = pictures[instance["object"]]
        pairs = match(own_descriptors, descriptors)
        H = np.array(instance["homography"])
        moved = cv2.perspectiveTransform(own[None, pairs[:, 0]], H)[0]
        error = np.linalg.norm(moved - points[pairs[:, 1]], axis=1)
        right = error < 3
        assert np.count_nonzero(right) > 60, instance["object"]
        assert np.median(error[right]) < 0.6, instance["object"]
        wide, high = instance["picture_size"]
        corners = np.array([[(-0.5, -0.5), (wide - 0.5, -0.5), (wide - 0.5, high - 0.5), (-0.5, high - 0.5)]])
        np.testing.assert_allclose(cv2.perspectiveTransform(corners, H)[0], instance["corners"], atol=0.01)
    assert min(i["visible"] for i in record["instances"]) < 0.95
    (absent,) = record["absent"]
    pairs = match(pictures[absent][1], descriptors)
    _, inliers = cv2.findHomography(pictures[absent][0][pairs[:, 0]], points[pairs[:, 1]], cv2.USAC_MAGSAC, 3.0)
    assert inliers is None or np.count_nonzero(inliers) < 12


def test_the_program_still_makes_the_scene(sample_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(sample_data.parent)
    from sample_data.render import object_picture, objects_record, photograph
    from sample_data.shots import objects_shot
    from sample_data.stilllife import COVERS, table_with_objects

    scene, shot = table_with_objects(), objects_shot()
    folder = sample_data / "objects"
    kept = cv2.imread(str(folder / shot.name))[..., ::-1].astype(int)
    left, top, width, height = 560, 300, 240, 160
    again = photograph(scene, shot, (left, top, width, height)).astype(int)
    difference = np.abs(again - kept[top : top + height, left : left + width])[3:-3, 3:-3]
    assert difference.mean() < 4
    truth = json.loads((folder / "scene.json").read_text())["instances"]
    for old, new in zip(truth, objects_record(scene, shot)["instances"], strict=True):
        assert old["object"] == new["object"]
        np.testing.assert_allclose(old["corners"], new["corners"], atol=1e-6)
        assert old["visible"] == pytest.approx(new["visible"], abs=0.01)
    for cover in COVERS:
        picture = cv2.imread(str(folder / "pictures" / f"{cover.name}.jpg"))[..., ::-1]
        assert np.abs(picture / 255.0 - object_picture(cover)).mean() < 0.02
