"""Boards of patch pairs: scores by hand, the jitter levels against an overlap measured on a grid, a tiny scene."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from nearness import Nearness

from descriptors.benchmarks import pairs, scenes
from descriptors.benchmarks.comparing import ByDistance
from descriptors.benchmarks.contestants import ScoredPatches
from descriptors.benchmarks.results import Contestant, Store
from descriptors.contract import DescriptorError, PairScorerSpec
from descriptors.datasets.hpatches import JITTER
from descriptors.frames import frames_from_keypoints
from descriptors.registry import load
from descriptors.training.augment import jitter_frames


def test_snn_precision_by_hand():
    # Ratios 0.5 (right), 0.25 (wrong: the rival is nearer), 0.8 (right): ranked wrong, right, right.
    got = pairs.snn_precision(np.array([1.0, 4.0, 0.8]), np.array([2.0, 1.0, 1.0]))
    assert got == pytest.approx((1 / 2 + 2 / 3) / 2)
    # Both at 0: ratio 1, the last rank; a tie counts as right.
    got = pairs.snn_precision(np.array([0.0, 3.0]), np.array([0.0, 1.0]))
    assert got == pytest.approx(1 / 2)
    # No rival at all: ratio 0, right.
    assert pairs.snn_precision(np.array([1.0]), np.array([np.inf])) == 1.0
    assert math.isnan(pairs.snn_precision(np.array([2.0]), np.array([1.0])))
    with pytest.raises(DescriptorError):
        pairs.snn_precision(np.zeros(2), np.zeros(3))


def test_nearest_wrong_leaves_out_the_same_point():
    others = np.array([[1.0, 0], [0, 1], [0.6, 0.8]], np.float32)
    got = ByDistance("l2", 1.0).nearest_wrong(others[:2], others, np.array([0, 1]), np.array([0, 1, 0]))
    np.testing.assert_allclose(got, [math.sqrt(2), math.sqrt(0.4)], atol=1e-6)
    assert ByDistance("l2", 1.0).nearest_wrong(others[:1], others[:1], np.array([0]), np.array([0]))[0] == np.inf


@pytest.mark.parametrize("kind", ["l2", "hamming"])
def test_snn_map_equals_loops_over_anchors_and_partners(rng, kind, monkeypatch):
    monkeypatch.setattr(pairs, "_ROWS", 7)
    point, photo = rng.integers(0, 8, 40), rng.integers(0, 3, 40)
    if kind == "l2":
        rows = (rng.standard_normal((8, 6))[point] + rng.standard_normal((40, 6))).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        apart = np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=2)
    else:
        rows = rng.integers(0, 256, (8, 4), dtype=np.uint8)[point] ^ rng.choice([0, 1, 16, 68, 255], (40, 4)).astype(
            np.uint8
        )
        bits = np.unpackbits(rows, axis=1)
        apart = (bits[:, None] != bits[None]).sum(axis=2).astype(float)
    precisions = []
    for set_ in range(3):
        positive, negative = [], []
        for i in np.flatnonzero(photo == set_):
            rivals = [apart[i, k] for k in range(40) if photo[k] == set_ and point[k] != point[i]]
            for j in np.flatnonzero(photo == set_):
                if i != j and point[i] == point[j]:
                    positive.append(apart[i, j])
                    negative.append(min(rivals))
        precisions.append(pairs.snn_precision(np.array(positive), np.array(negative)))
    assert pairs.snn_map(rows, point, photo, kind) == pytest.approx(np.mean(precisions), abs=1e-6)


def test_roc_curve_of_a_page_lies_on_the_whole_one(rng):
    positive, negative = rng.normal(1, 0.3, 500), rng.normal(1.6, 0.3, 2000)
    curve = pairs.roc_curve("b", "d", "easy", positive, negative)
    assert len(curve.x) <= 160 and curve.y[-1] == 1.0
    for x, y in list(zip(curve.x, curve.y, strict=True))[::20]:
        allowed = np.sort(negative)[: math.floor(x * 2000 + 1e-9) + 1][-1] if x < 1 else np.inf
        assert y == pytest.approx((positive < allowed).mean())


@pytest.mark.parametrize(("level", "overlap"), [("easy", 0.85), ("hard", 0.72), ("tough", 0.60)])
def test_jitter_levels_overlap_as_said(level, overlap):
    rng = np.random.default_rng(0)
    frames = frames_from_keypoints(np.zeros((500, 2)), 1.0, rng.uniform(-3, 3, 500))
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-2.5, 2.5, 101)])).reshape(2, -1)
    still = (grid**2).sum(axis=0) < 1
    shares = []
    for frame in jitter_frames(frames, JITTER[level], rng):
        back = np.linalg.solve(frame[:, :2].astype(float), grid - frame[:, 2:])
        moved = (back**2).sum(axis=0) < 1
        shares.append((still & moved).sum() / (still | moved).sum())
    assert np.median(shares) == pytest.approx(overlap, abs=0.02)


@pytest.fixture
def data(tmp_path, textured):
    """One scene of the board: two photos of one plane, the second moved by 10 px, 100 points."""
    folder = tmp_path / "scenes" / "et"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), textured[:, :240])
    cv2.imwrite(str(folder / "images" / "b.png"), textured[:, 10:250])
    y, x = np.mgrid[30:220:20, 30:220:20].reshape(2, -1) + 0.5
    pose = np.zeros((2, 3, 4))
    pose[:, :, :3] = np.eye(3)
    pose[1, 0, 3] = -0.1
    np.savez(
        folder / "tracks.npz",
        names=np.array(["a.png", "b.png"]),
        K=np.tile(np.diag([100.0, 100.0, 1.0]), (2, 1, 1)),
        cam_from_world=pose,
        xyz=np.c_[x, y, np.full(100, 100.0)] / 100,
        obs_image=np.repeat([0, 1], 100),
        obs_point=np.tile(np.arange(100), 2),
        obs_xy=np.r_[np.c_[x, y], np.c_[x - 10, y]],
        obs_scale=np.full(200, 1.5),
        obs_angle=np.zeros(200),
    )
    return tmp_path


def test_scene_board(data, tmp_path):
    sets = scenes.read_pairs(data)
    (only,) = sets
    assert (only.name, only.group, len(only.first)) == ("et", "object", 100)
    assert (only.other != np.arange(100)).all() and (only.tracks.obs_image[only.first] == 0).sum() in (0, 100)
    contestants = [Contestant("rootsift", load("rootsift")), Contestant("orb", load("orb"))]
    store = Store(tmp_path / "store")
    board = scenes.run(sets, contestants, store)
    assert store.made == 2 * 4
    found = {(s.descriptor, s.subset, s.condition, s.metric): s.value for s in board.scores}
    assert found["rootsift", "object", "easy", "fpr95"] <= 0.02
    assert found["rootsift", "object", "easy", "snn_map"] > 0.95
    for metric in ("snn_map", "roc_auc"):
        easy, tough = (found["orb", "all", level, metric] for level in ("easy", "tough"))
        assert easy > tough
    mean = np.mean([found["orb", "object", level, "snn_map"] for level in JITTER])
    assert found["orb", "all", "all", "snn_map"] == pytest.approx(mean)
    again = Store(tmp_path / "store")
    assert scenes.run(scenes.read_pairs(data), contestants, again) == board and again.made == 0


def test_scene_board_takes_a_metric_network(data, tmp_path):
    scorer = Nearness(PairScorerSpec("nearness", 64, embeds=True, candidates=4, patch_size=8))
    made = scenes.run(scenes.read_pairs(data), [Contestant("n", ScoredPatches(scorer), scorer)], Store(tmp_path))
    found = {(score.condition, score.metric): score.value for score in made.scores if score.subset == "all"}
    assert found["easy", "roc_auc"] > 0.9 and found["easy", "snn_map"] > 0.5
    assert found["tough", "snn_map"] < found["easy", "snn_map"]
