"""The boards of sequences: readers, the file store, and scores against matches whose truth is known by construction."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from descriptors.benchmarks import sequences as board
from descriptors.benchmarks.comparing import ByDistance, distance_matrix, pair_distances
from descriptors.benchmarks.results import METRICS, Contestant, Score, Store, digest
from descriptors.contract import DescriptorError, DescriptorSpec
from descriptors.datasets.scenes import DataError
from descriptors.datasets.sequences import read_sequences
from descriptors.frames import frames_from_keypoints

SHIFT = np.array([[1, 0, 10], [0, 1, -5], [0, 0, 1.0]])


class Grey:
    """A descriptor that counts its calls: the patch itself, less its mean, of unit length."""

    spec = DescriptorSpec("grey", 64, patch_size=8, magnification=4.0, ratio=0.9)
    fingerprint = "grey-1"

    def __init__(self):
        self.calls = 0

    def describe(self, patches):
        self.calls += 1
        flat = patches.reshape(len(patches), -1).astype(np.float32)
        flat = flat - flat.mean(axis=1, keepdims=True) + 1e-3
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.fixture
def shifted(tmp_path, textured):
    """One sequence: a picture and the same moved by whole pixels."""
    home = tmp_path / "data" / "v_shift"
    home.mkdir(parents=True)
    cv2.imwrite(str(home / "1.png"), textured)
    cv2.imwrite(str(home / "2.png"), np.roll(textured, (-5, 10), (0, 1)))
    np.savetxt(home / "H_1_2", SHIFT)
    return tmp_path / "data"


def grid_keypoints():
    y, x = np.mgrid[40:216:16, 40:216:16]
    frames = frames_from_keypoints(np.c_[x.ravel(), y.ravel()], 3.0)

    first: list[np.ndarray] = []

    def detect(image):
        first.append(image)
        moved = frames.copy()
        if not np.array_equal(image, first[0]):
            moved[:, :, 2] += (10, -5)
        return moved

    return board.Keypoints("grid", "grid", detect)


def test_a_shift_is_matched_wholly(shifted, tmp_path):
    grey, store = Grey(), Store(tmp_path / "store")
    made = board.run("sequences", read_sequences(shifted), [Contestant("grey", grey)], grid_keypoints(), store)
    values = {s.metric: s.value for s in made.scores if s.subset == "all" and s.condition == "all"}
    assert values["map"] == values["matching_score"] == values["mma3"] == 1.0
    assert values["homography_auc1"] > 0.99 and values["matched"] == 1 and values["inliers"] == 121
    assert {s.condition for s in made.scores if s.subset == "v_shift"} == {"viewpoint"}
    assert made.curves[0].y == (1.0,) * 10


def test_what_is_in_the_store_is_not_done_again(shifted, tmp_path):
    grey = Grey()
    data, keypoints = read_sequences(shifted), grid_keypoints()

    def run():
        store = Store(tmp_path / "store")
        made = board.run("sequences", data, [Contestant("grey", grey)], keypoints, store)
        return made, store.made

    first, made = run()
    again, nothing = run()
    assert (made, nothing, grey.calls) == (5, 0, 2) and again == first  # 2 x keypoints, 2 x descriptors, 1 pair
    damaged = next((tmp_path / "store" / "sequences" / "grey").glob("v_shift-1-*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert run() == (first, 1) and grey.calls == 3
    grey.fingerprint = "grey-2"
    assert run()[1] == 3 and grey.calls == 5


def test_scores_of_a_pair_by_hand():
    # Five keypoints far apart; the descriptors of 0, 1, 2 agree, those of 3 and 4 are swapped.
    xy = np.array([[20, 20], [80, 20], [80, 80], [20, 80], [50, 50.0]])
    first = frames_from_keypoints(xy, 2.0)
    second = frames_from_keypoints(np.add(xy, (10, -5)), 2.0)
    a = np.eye(8, dtype=np.float32)[:5]
    b = a[[0, 1, 2, 4, 3]].copy()
    # Match 3 gets a worse ratio than the rest, match 4 the worst: ranks right, right, right, wrong, wrong.
    b[4] = 0.8 * a[3] + 0.6 * a[0]
    b[3] = 0.75 * a[4] + math.sqrt(1 - 0.75**2) * a[1]
    got = board.match_pair(first, second, a, b, SHIFT, (100, 100), ByDistance("l2", 0.9))
    assert got.average_precision == pytest.approx(3 / 5) and got.matching_score == pytest.approx(3 / 5)
    assert got.mma[2] == pytest.approx(3 / 5)
    curve = board.recall_curve("oxford", "mine", [got])
    np.testing.assert_allclose(curve.y, [1 / 5, 2 / 5, 3 / 5, 3 / 5, 3 / 5])
    np.testing.assert_allclose(curve.x, [0, 0, 0, 1 / 4, 2 / 5])
    twice = board.recall_curve("oxford", "mine", [got, got])  # two pairs: the same recall and precision
    assert (twice.x[-1], twice.y[-1]) == (curve.x[-1], curve.y[-1])
    # Of ten times larger scale the keypoints are no partners any more.
    second = frames_from_keypoints(np.add(xy, (10, -5)), 20.0)
    got = board.match_pair(first, second, a, b, SHIFT, (100, 100), ByDistance("l2", 0.9))
    assert math.isnan(got.average_precision) and math.isnan(got.matching_score)
    assert board.recall_curve("oxford", "mine", [got]).x == ()


def test_each_pair_is_estimated_in_several_orders_of_its_matches(rng):
    xy = rng.uniform(0, 300, (120, 2))
    noisy = np.add(xy, (10, -5)) + rng.normal(0, 2, xy.shape)
    noisy[30:] = rng.uniform(0, 300, (90, 2))
    first, second = frames_from_keypoints(xy, 2.0), frames_from_keypoints(noisy, 2.0)
    described = np.eye(120, dtype=np.float32)
    got = board.match_pair(first, second, described, described, SHIFT, (300, 300), ByDistance("l2", 0.9))
    assert len(got.corner_errors) == 20 and len(set(got.corner_errors.round(3))) > 1
    assert 0.1 < np.median(got.corner_errors) < 20 and 10 < got.inliers <= 31
    again = board.match_pair(first, second, described, described, SHIFT, (300, 300), ByDistance("l2", 0.9))
    np.testing.assert_array_equal(got.corner_errors, again.corner_errors)


def test_pairs_without_keypoints_do_not_stop_the_board():
    none, one = np.empty((0, 2, 3), np.float32), frames_from_keypoints([[5, 5.0]], 2.0)
    empty, row = np.empty((0, 4), np.float32), np.eye(4, dtype=np.float32)[:1]
    for frames_a, frames_b, a, b in ((none, one, empty, row), (one, none, row, empty), (none, none, empty, empty)):
        got = board.match_pair(frames_a, frames_b, a, b, np.eye(3), (10, 10), ByDistance("l2", 0.9))
        assert math.isnan(got.average_precision) and got.inliers == 0 and np.isinf(got.corner_errors).all()
        assert (got.mma == 0).all()
    got = board.match_pair(one, one, row, row, np.eye(3), (10, 10), ByDistance("l2", 0.9))
    assert got.average_precision == got.matching_score == 1.0


def test_homography_and_corner_error(rng):
    truth = np.array([[1.1, 0.1, 5], [-0.05, 0.9, 3], [1e-4, 2e-4, 1]])
    xy = rng.uniform(0, 300, (80, 2))
    mapped = cv2.perspectiveTransform(xy[None], truth)[0]
    mapped[60:] = rng.uniform(0, 300, (20, 2))
    estimate, inliers = board.estimate_homography(xy, mapped)
    assert inliers[:60].all() and inliers[60:].sum() <= 2
    assert board.corner_error(estimate, truth, (300, 300)) < 0.01
    moved = np.array([[1, 0, 3], [0, 1, 4], [0, 0, 1.0]]) @ truth
    assert board.corner_error(moved, truth, (300, 300)) == pytest.approx(5)
    assert board.estimate_homography(xy[:3], mapped[:3])[0] is None


def test_distances():
    bits = np.array([[0b1010, 0xFF]], np.uint8), np.array([[0b0110, 0x0F]], np.uint8)
    assert pair_distances(*bits, "hamming")[0] == 2 + 4 == distance_matrix(*bits, "hamming")[0, 0]
    floats = np.array([[0.6, 0.8]], np.float32), np.array([[1.0, 0.0]], np.float32)
    assert pair_distances(*floats, "l2")[0] == pytest.approx(math.sqrt(0.8))
    assert distance_matrix(*floats, "l2")[0, 0] == pytest.approx(math.sqrt(0.8))
    with pytest.raises(DescriptorError):
        pair_distances(np.zeros((2, 3)), np.zeros((3, 3)), "l2")


def test_readers_tell_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        read_sequences(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no image sequence"):
        read_sequences(tmp_path)
    home = tmp_path / "graf"
    home.mkdir()
    cv2.imwrite(str(home / "img1.png"), np.zeros((8, 8), np.uint8))
    np.savetxt(home / "H1to2p", np.eye(3))
    with pytest.raises(DataError, match="img2"):
        read_sequences(tmp_path)
    cv2.imwrite(str(home / "img2.ppm"), np.zeros((8, 8, 3), np.uint8))
    (found,) = read_sequences(tmp_path)
    assert (found.name, found.change, len(found.photos)) == ("graf", "viewpoint", 2)
    (home / "H1to2p").write_text("1 0 0\n0 1\n")
    with pytest.raises(DataError, match="no homography"):
        read_sequences(tmp_path)


def test_digest_and_metrics():
    assert digest("a", 1) != digest("a", 2) and digest(np.zeros(2)) != digest(np.zeros(3))
    assert METRICS["map"].text(0.5881) == "58.8" and METRICS["map"].text(math.nan) == "–"
    with pytest.raises(DescriptorError, match="no metric"):
        Score("b", "d", "all", "all", "mapp", 0.0)


@pytest.mark.real
def test_root_sift_on_graf(shared_data, tmp_path):
    """Our RootSIFT on the published pair 1-2 of graf lies where OpenCV's own lies: most neighbours are right."""
    from descriptors.registry import load

    (graf,) = read_sequences(shared_data / "oxford" / "graf")
    graf = type(graf)(graf.name, graf.change, graf.photos[:2], graf.homographies[:1])
    contestant = Contestant("rootsift", load("rootsift"))
    made = board.run("oxford", [graf], [contestant], board.strongest_dog(500), Store(tmp_path))
    values = {s.metric: s.value for s in made.scores if s.subset == "all" and s.condition == "all"}
    assert values["map"] > 0.6 and values["homography_auc5"] > 0.5 and values["matched"] == 1
