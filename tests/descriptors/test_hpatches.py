"""HPatches patches: layout, splits, task lists, scores against plain loops, and the maker against its homographies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from descriptors.benchmarks import hpatches as board
from descriptors.benchmarks import scores
from descriptors.benchmarks.comparing import ByDistance, pair_distances
from descriptors.benchmarks.results import Contestant, Store
from descriptors.datasets import hpatches, hpatches_tasks
from descriptors.datasets.hpatches import COLUMNS, PatchSequence, read_patches, split_names
from descriptors.datasets.photos import carry_frames
from descriptors.datasets.scenes import DataError
from descriptors.datasets.sequences import Sequence
from descriptors.frames import frames_from_keypoints, scales
from descriptors.registry import load

L2 = ByDistance("l2", 1.0)


def write_sequence(folder, rng, count, noise=6.0):
    folder.mkdir(parents=True)
    texture = np.stack([cv2.GaussianBlur(rng.standard_normal((65, 65)), (0, 0), 3) for _ in range(count)]) * 500 + 128
    for name in COLUMNS:
        column = np.clip(texture + rng.normal(0, noise, texture.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), column.reshape(-1, 65))


def random_rows(rng, counts, dim=6):
    def unit(n):
        rows = rng.standard_normal((n, dim)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return [{name: unit(n) for name in COLUMNS} for n in counts]


def sequences_of(counts):
    return [PatchSequence(f"v_{k}", None, n) for k, n in enumerate(counts)]


def test_reader_and_splits(tmp_path, rng):
    write_sequence(tmp_path / "v_man", rng, 4)
    (found,) = read_patches(tmp_path)
    assert (found.name, found.count, found.column("t5").shape) == ("v_man", 4, (4, 1, 65, 65))
    raw = cv2.imread(str(tmp_path / "v_man" / "h2.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(found.column("h2")[2, 0], raw[130:195])
    (tmp_path / "v_man" / "h2.png").unlink()
    with pytest.raises(DataError, match=r"h2\.png"):
        read_patches(tmp_path)
    with pytest.raises(DataError, match="hpatches-patches"):
        read_patches(tmp_path / "nowhere")


def test_split_sizes_are_the_published_ones():
    everything = sorted({name for split in "abc" for name in hpatches._TEST[split].split()})
    for split in "abc":
        names = split_names(split, everything)
        assert len(names) == 40 and sum(name.startswith("i_") for name in names) == 20
    assert split_names("illum", ["i_x", "v_y"]) == ["i_x"] and split_names("view", ["i_x", "v_y"]) == ["v_y"]
    assert split_names("full", ["i_x", "v_y"]) == ["i_x", "v_y"]
    with pytest.raises(DataError, match="no split"):
        split_names("d", [])


def test_drawn_pairs_keep_the_rule():
    sequences = sequences_of([5, 9, 3])
    lists = hpatches_tasks.verification(sequences, "full", None, pairs=500)
    count = np.array([5, 9, 3])
    assert [len(pairs) for pairs in (lists.positive, lists.intra)] == [500, 500] and 400 < len(lists.inter) < 500
    same = (lists.inter.s1 == lists.inter.s2) & (lists.inter.idx1 == lists.inter.idx2)
    assert not same.any() and (lists.inter.s1 == lists.inter.s2).any() and (lists.inter.s1 != lists.inter.s2).any()
    for pairs in (lists.positive, lists.intra, lists.inter):
        assert (pairs.idx1 < count[pairs.s1]).all() and (pairs.idx2 < count[pairs.s2]).all()
        assert (pairs.t1 != pairs.t2).all() and set(np.unique(pairs.t1)) == set(range(5))
    assert (lists.positive.idx1 == lists.positive.idx2).all() and (lists.positive.s1 == lists.positive.s2).all()
    assert (lists.intra.idx1 != lists.intra.idx2).all() and (lists.intra.s1 == lists.intra.s2).all()
    again = hpatches_tasks.verification(sequences, "full", None, pairs=500)
    np.testing.assert_array_equal(lists.inter.idx2, again.inter.idx2)


def test_published_lists_are_read(tmp_path):
    sequences = sequences_of([5, 9])
    head = "s1,t1,idx1,s2,t2,idx2\n"
    for kind, row in (("pos", "v_0,4,2,v_0,3,2"), ("neg_intra", "v_1,0,8,v_1,1,7"), ("neg_inter", "v_0,1,4,v_1,2,8")):
        (tmp_path / f"verif_{kind}_split-a.csv").write_text(head + row + "\n")
    lists = hpatches_tasks.verification(sequences, "a", tmp_path)
    assert [len(p) for p in (lists.positive, lists.intra, lists.inter)] == [1, 1, 1]
    assert (lists.inter.s2[0], lists.inter.t2[0], lists.inter.idx2[0]) == (1, 2, 8)
    (tmp_path / "verif_pos_split-a.csv").write_text(head + "v_0,4,5,v_0,3,2\n")
    with pytest.raises(DataError, match="another set"):
        hpatches_tasks.verification(sequences, "a", tmp_path)
    (tmp_path / "verif_pos_split-a.csv").write_text("s,idx\n")
    with pytest.raises(DataError, match="columns"):
        hpatches_tasks.verification(sequences, "a", tmp_path)
    (tmp_path / "retr_queries_split-a.csv").write_text("s,idx\nv_0,1\n")
    (tmp_path / "retr_distractors_split-a.csv").write_text("s,idx\nv_1,2\nv_1,3\n")
    got = hpatches_tasks.retrieval(sequences, "a", tmp_path)
    assert got.query.tolist() == [0] and got.distractor_row.tolist() == [2, 3]


def test_verification_equals_a_loop_over_the_lists(rng):
    own = random_rows(rng, [5, 9])
    lists = hpatches_tasks.verification(sequences_of([5, 9]), "full", None, pairs=200)

    def loop(pairs):
        found = []
        for s1, t1, i1, s2, t2, i2 in zip(*(getattr(pairs, f) for f in pairs.__dataclass_fields__), strict=True):
            a = own[s1]["ref" if t1 == 0 else f"h{t1}"][i1]
            b = own[s2]["ref" if t2 == 0 else f"h{t2}"][i2]
            found.append(np.linalg.norm(a.astype(float) - b))
        return np.array(found)

    positive, inter = loop(lists.positive), loop(lists.inter)
    got = {(metric, condition): value for metric, condition, value in board.verification_scores(
        own, "h", lists, L2, "hard")}  # fmt: skip
    nearer = (positive[:, None] < inter[None]) + 0.5 * (positive[:, None] == inter[None])
    assert got["verification_balanced", "hard inter"] == pytest.approx(nearer.mean())
    labels = np.r_[np.ones(40, bool), np.zeros(len(inter), bool)]
    expected = scores.trapezoid_average_precision(np.r_[positive[:40], inter], labels)
    assert got["verification_imbalanced", "hard inter"] == pytest.approx(expected, abs=1e-6)


def test_matching_by_hand(rng):
    one = random_rows(rng, [3])[0]
    for k in range(1, 6):
        one[f"e{k}"] = one["ref"][[0, 2, 1]]  # one of three finds its own; all distances are 0, one step
    assert board.matching_score(["v_x"], [one], "e", L2) == pytest.approx(1 / 3 * (1 + 1 / 3) / 2)
    right = {name: one["ref"] for name in COLUMNS}
    # One viewpoint sequence at 1, two of illumination at 2/9 and 1: the kinds count half each.
    got = board.matching_score(["v_x", "i_y", "i_z"], [right, one, right], "e", L2)
    assert got == pytest.approx((1 + (2 / 9 + 1) / 2) / 2)


@pytest.mark.parametrize("ties", [False, True])
def test_retrieval_equals_whole_lists(rng, ties):
    true, foreign = rng.random(5), rng.random(300)
    if ties:
        true, foreign = np.round(true, 1), np.round(foreign, 1)
    labels = np.r_[np.ones(5, bool), np.zeros(300, bool)]
    expected = scores.trapezoid_average_precision(np.r_[true, foreign], labels)
    assert board.pool_precision(true, np.sort(foreign)) == pytest.approx(expected)
    whole = [scores.trapezoid_average_precision(np.r_[true, foreign[:95]], labels[:100])]
    assert board._pools(true, foreign) == pytest.approx(whole)


def test_retrieval_leaves_out_the_query_s_own_sequence(rng):
    own = random_rows(rng, [4, 6])
    lists = hpatches_tasks.Retrieval(*(np.array(v) for v in ([0, 1], [2, 3], [0, 0, 1, 1], [0, 1, 0, 1])))
    expected = []
    for s, row, others in ((0, 2, own[1]["ref"][[0, 1]]), (1, 3, own[0]["ref"][[0, 1]])):
        query = own[s]["ref"][row]
        true = [np.linalg.norm(query - own[s][f"t{k}"][row]) for k in range(1, 6)]
        foreign = np.linalg.norm(others - query, axis=1)
        labels = np.r_[np.ones(5, bool), np.zeros(2, bool)]
        expected.append(scores.trapezoid_average_precision(np.r_[true, foreign], labels))
    assert board.retrieval_score(own, "t", lists, "l2") == pytest.approx(np.mean(expected), abs=1e-6)


def test_board(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(hpatches_tasks, "PAIRS", 200)
    for name in ("v_man", "i_fog"):
        write_sequence(tmp_path / "data" / name, rng, 12, noise=1.0)
    sequences, contestants = read_patches(tmp_path / "data"), [Contestant("rootsift", load("rootsift"))]
    store = Store(tmp_path / "store")
    made = board.run(sequences, contestants, store, splits=["view", "full"])
    found = {(s.subset, s.condition, s.metric): s.value for s in made.scores}
    for metric in ("verification_balanced", "verification_imbalanced", "matching", "retrieval"):
        assert found["full", "all", metric] > 0.98 and found["all", "all", metric] == found["full", "all", metric]
    assert "view" in {s.subset for s in made.scores} and "seed 42" in made.protocol
    again = Store(tmp_path / "store")
    assert board.run(sequences, contestants, again, splits=["view", "full"]) == made and again.made == 0


def test_circle_overlap_and_apart():
    one = np.array([1.0])
    assert hpatches.circle_overlap(one, one, np.array([0.0]))[0] == pytest.approx(1)
    assert hpatches.circle_overlap(one, 2 * one, np.array([0.5]))[0] == pytest.approx(1 / 4)
    assert hpatches.circle_overlap(one, one, np.array([2.0]))[0] == 0
    lens = 2 * np.arccos(0.5) - np.sqrt(3) / 2  # two unit circles at distance 1
    assert hpatches.circle_overlap(one, one, one)[0] == pytest.approx(lens / (2 * np.pi - lens))
    frames = frames_from_keypoints([[0, 0], [0.1, 0], [9, 0]], [1, 1, 1])
    assert hpatches.apart(frames).tolist() == [0, 2]


def test_carried_frames_follow_the_homography():
    truth = np.array([[1.1, 0.1, 5], [-0.05, 0.9, 3], [1e-3, 5e-4, 1]])
    frames = frames_from_keypoints([[40.0, 60.0]], 3.0, 0.4)
    carried = carry_frames(frames, truth)[0].astype(float)
    for u in ([0, 0], [1e-2, 0], [0, 1e-2]):
        place = frames[0, :, :2].astype(float) @ u + frames[0, :, 2]
        expected = cv2.perspectiveTransform(place[None, None], truth)[0, 0]
        np.testing.assert_allclose(carried[:, :2] @ u + carried[:, 2], expected, atol=1e-4)


def test_made_patches_show_the_same_places(tmp_path, textured):
    rng = np.random.default_rng(1)
    photos, homographies = [], []
    for k in range(6):
        turn = np.array(
            [[np.cos(0.1 * k), -np.sin(0.1 * k), 20 * k / 5], [np.sin(0.1 * k), np.cos(0.1 * k), 0], [0, 0, 1]]
        )
        cv2.imwrite(str(tmp_path / f"{k + 1}.png"), cv2.warpPerspective(textured, turn, (300, 300)))
        photos.append(tmp_path / f"{k + 1}.png")
        homographies.append(turn)
    keypoints = frames_from_keypoints(rng.uniform(60, 200, (150, 2)), rng.uniform(2, 5, 150), rng.uniform(-3, 3, 150))
    made = Sequence("v_made", "viewpoint", tuple(photos), tuple(homographies[1:]))
    count = hpatches.make_patches(made, tmp_path / "out", lambda image: keypoints, most=60)
    (found,) = read_patches(tmp_path / "out")
    assert found.count == count and 20 < count <= 60 and len(list((tmp_path / "out").iterdir())) == 1

    def alike(name):
        a, b = (found.column(c).reshape(count, -1).astype(float) for c in ("ref", name))
        return np.median([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])

    assert alike("e1") > 0.9 and alike("e5") > alike("h5") > alike("t5") > 0.3
    with pytest.raises(DataError, match="six photos"):
        hpatches.make_patches(
            Sequence("v", "x", made.photos[:2], made.homographies[:1]), tmp_path, lambda image: keypoints
        )
    assert scales(keypoints).min() > 0 and pair_distances(np.zeros((0, 2)), np.zeros((0, 2)), "l2").shape == (0,)
