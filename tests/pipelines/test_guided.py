"""Matches along epipolar lines and coarse to fine: against brute force, and on the exact depth of sample_data."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from true_map import Truth, courtyard

from descriptors.distances import Matches
from descriptors.frames import frames_from_keypoints
from pipelines.core.maps import Camera, TwoView
from pipelines.features.detectors import FUSED, DetectorConfig
from pipelines.geometry.two_view import VerifyConfig, estimate_two_view
from pipelines.matching.candidates import Candidates, first_at_place
from pipelines.matching.coarse import Prepared, Rule, coarse_to_fine, prepare
from pipelines.matching.guided import Cells, guided_matches

SIZE = np.array([640.0, 480.0])


def unit(rng: np.random.Generator, n: int, dim: int = 32) -> np.ndarray:
    x = rng.normal(size=(n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def epipole_at(x: float, y: float) -> np.ndarray:
    """F of a camera that moves towards (x, y): lines of both photos run through it."""
    return np.array([[0, -1, y], [1, 0, -x], [-y, x, 0]])


GEOMETRIES = {
    "rows": np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "columns": np.array([[0.0, 0, -1], [0, 0, 0], [1, 0, 0]]),
    "through the middle": epipole_at(320, 240),
    "slanted": epipole_at(-900, 3000),
}


def brute(xy, rows, places, f, band) -> dict[tuple[int, int], tuple[float, float]]:
    """(i, j) -> distance and ratio of the mutual nearest neighbours, every pair of keypoints asked."""
    ones = [np.c_[points.astype(np.float64), np.ones(len(points))] for points in xy]
    to_b, to_a = ones[0] @ f.T, ones[1] @ f
    value = np.abs(to_b @ ones[1].T)
    near = (value <= band * np.hypot(to_b[:, 0], to_b[:, 1])[:, None]) & (value <= band * np.hypot(*to_a.T[:2]))
    distance = np.where(near, np.linalg.norm(rows[0][:, None] - rows[1][None], axis=2), np.inf)
    found = {}
    for i in np.flatnonzero(near.any(axis=1)):
        j = int(distance[i].argmin())
        if distance[:, j].argmin() == i:
            rivals = np.r_[distance[i][places[1] != places[1][j]], distance[:, j][places[0] != places[0][i]], 1.3]
            found[int(i), j] = (distance[i, j], distance[i, j] / rivals.min())
    return found


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("band", [1.5, 20.0])
def test_guided_matches_are_those_of_brute_force(name: str, band: float) -> None:
    rng = np.random.default_rng(3)
    xy = [(rng.random((n, 2)) * SIZE).astype(np.float32) for n in (500, 700)]
    xy[0][:40], xy[1][:60] = xy[0][40:80], xy[1][60:120]  # places with two orientations
    rows = [unit(rng, 500), unit(rng, 700)]
    rows[1][:300] = rows[0][:300] + 0.2 * unit(rng, 300)
    rows[1] /= np.linalg.norm(rows[1], axis=1, keepdims=True)
    places = [first_at_place(frames_from_keypoints(points, 2.0)) for points in xy]
    cells = [Cells.of(*side) for side in zip(xy, rows, places, strict=True)]
    expected = brute(xy, rows, places, GEOMETRIES[name], band)
    found = guided_matches(*cells, GEOMETRIES[name], band=band, background=1.3)
    assert {(int(i), int(j)) for i, j in found.pairs} == set(expected) and len(expected) > 50
    wanted = np.array([expected[int(i), int(j)] for i, j in found.pairs])
    np.testing.assert_allclose(np.c_[found.distances, found.ratios], wanted, atol=2e-4)
    assert found.pairs.dtype == np.int32 and found.ratios.dtype == np.float32


def test_nothing_near_a_line_and_nothing_at_all() -> None:
    rng = np.random.default_rng(1)
    xy = np.array([[10.0, 10], [300, 200]], np.float32)
    some = Cells.of(xy, unit(rng, 2), np.arange(2, dtype=np.int32))
    lower = Cells.of(xy + np.float32([0, 50]), unit(rng, 2), np.arange(2, dtype=np.int32))
    none = Cells.of(xy[:0], unit(rng, 0), np.empty(0, np.int32))
    for a, b in ((some, lower), (none, some), (some, none), (none, none)):
        assert guided_matches(a, b, GEOMETRIES["rows"], band=2.0, background=1.0).pairs.shape == (0, 2)


def test_the_outermost_keypoints_of_large_photos_lie_in_cells_of_their_own() -> None:
    rng = np.random.default_rng(4)
    rows, places = unit(rng, 3), np.arange(3, dtype=np.int32)
    for size in rng.uniform(2000, 6000, (50, 2)):
        cells = Cells.of(np.float32([[0, 0], size / 3, size]), rows, places)
        found = guided_matches(cells, cells, GEOMETRIES["rows"], band=1.0, background=1.3)
        assert found.pairs.tolist() == [[0, 0], [1, 1], [2, 2]], size


def test_bits_are_compared_by_hamming_distance() -> None:
    rng = np.random.default_rng(2)
    xy = (rng.random((50, 2)) * SIZE).astype(np.float32)
    bits = rng.integers(0, 256, (50, 16), dtype=np.uint8)
    flipped = bits ^ np.packbits(np.arange(128) == 5)
    a, b = (Cells.of(xy, packed, np.arange(50, dtype=np.int32), "hamming") for packed in (bits, flipped))
    found = guided_matches(a, b, GEOMETRIES["rows"], band=1.0, background=40.0, distance="hamming")
    assert found.pairs.tolist() == [[i, i] for i in range(50)]
    np.testing.assert_array_equal(found.distances, 1)
    assert found.ratios.max() == pytest.approx(1 / 40, abs=0.02)


# --- coarse to fine ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene(sample_data) -> Truth:
    return courtyard(sample_data, range(4, 8))


@pytest.fixture(scope="module")
def keypoints(scene: Truth) -> list[tuple[np.ndarray, np.ndarray]]:
    """Frames and descriptors of two photos, three steps apart."""
    made = []
    for name in (scene.names[0], scene.names[3]):
        image = cv2.imread(str(scene.photos[name]), cv2.IMREAD_GRAYSCALE)
        found, described = FUSED["dog", "rootsift"](image, DetectorConfig(max_keypoints=3000))
        made.append((found.frames, described))
    return made


def prepared(keypoints: list[tuple[np.ndarray, np.ndarray]], first: int) -> tuple[Prepared, Prepared]:
    a, b = (prepare(frames, rows, first_at_place(frames), first, "l2") for frames, rows in keypoints)
    return a, b


RULE = Rule(0.9, 0.95, 4.0, "l2")


def match(sides: tuple[Prepared, Prepared], scene: Truth) -> tuple[Candidates, list[int]]:
    """Candidates, and of how many matches the geometry was asked."""
    focal = scene.cameras[scene.names[0]][0][0, 0]
    camera = Camera("SIMPLE_PINHOLE", 1024, 768, (focal, 511.5, 383.5), "exif")
    asked = []

    def geometry(matches: np.ndarray) -> TwoView | None:
        asked.append(len(matches))
        xy = sides[0].xy, sides[1].xy
        return estimate_two_view((camera, camera), xy, matches, VerifyConfig(), seed=0)

    return coarse_to_fine(*sides, geometry, RULE), asked


def right_and_wrong(scene: Truth, xy: tuple[np.ndarray, np.ndarray], pairs: np.ndarray) -> tuple[int, int]:
    """Matches within 3 px of, and farther from, where the exact depth puts them; surfaces' edges are left out."""
    (k_a, pose_a), (k_b, pose_b) = (scene.cameras[name] for name in (scene.names[0], scene.names[3]))
    depth = scene.depth(scene.names[0]).astype(np.float32)
    start = xy[0][pairs[:, 0]].astype(np.float64)
    at = np.clip(np.floor(start / 4).astype(int), 0, np.array(depth.shape[::-1]) - 2)
    around = np.stack([depth[at[:, 1] + dy, at[:, 0] + dx] for dy in (0, 1) for dx in (0, 1)])
    smooth = (around.min(axis=0) > 0) & (around.max(axis=0) < 1.02 * around.min(axis=0))
    z = cv2.remap(depth, *(start / 4).astype(np.float32).T[:, None], cv2.INTER_LINEAR)[0]
    world = (z * (np.linalg.inv(k_a) @ np.c_[start, np.ones(len(start))].T) - pose_a[:, 3:]).T @ pose_a[:, :3]
    seen = k_b @ (pose_b[:, :3] @ world.T + pose_b[:, 3:])
    off = np.linalg.norm((seen[:2] / seen[2]).T - xy[1][pairs[:, 1]], axis=1)[smooth]
    return int((off < 3).sum()), int((off >= 3).sum())


def test_coarse_to_fine_finds_more_right_matches_than_all_with_all(keypoints, scene: Truth) -> None:
    few = prepared(keypoints, 800)
    found, asked = match(few, scene)
    assert found.guided and len(asked) == 1
    every, _ = match(prepared(keypoints, 10**6), scene)  # all are large: guided, too
    right, wrong = right_and_wrong(scene, (few[0].xy, few[1].xy), found.matches)
    assert right > 5 * asked[0] / 2 and wrong < 0.03 * right
    assert right > 0.97 * right_and_wrong(scene, (few[0].xy, few[1].xy), every.matches)[0]
    assert len(found.pairs) > found.distinct


def test_without_a_geometry_all_are_compared_with_all(keypoints, scene: Truth) -> None:
    sides = prepared(keypoints, 40)  # too few to show one
    found, asked = match(sides, scene)
    assert not found.guided and asked[0] < 40
    right, wrong = right_and_wrong(scene, (sides[0].xy, sides[1].xy), found.matches)
    assert right > 200 and wrong < 0.2 * right


def test_unrelated_photos_stay_unrelated(keypoints, scene: Truth) -> None:
    (frames, rows), other = keypoints
    mirrored = frames.copy()
    mirrored[:, 0, 2] = 1023 - frames[:, 0, 2]
    shuffled = rows[np.random.default_rng(0).permutation(len(rows))]
    found, _ = match(prepared([(mirrored, shuffled), other], 800), scene)
    assert not found.guided


def test_distinct_candidates_come_first() -> None:
    found = Matches(np.array([[3, 1], [0, 2]], np.int32), np.float32([0.2, 0.3]), np.float32([0.5, 0.93]))
    made = Candidates.of(found, 0.9, guided=True)
    assert made.distinct == 1 and made.guided and made.matches.tolist() == [[3, 1]]
