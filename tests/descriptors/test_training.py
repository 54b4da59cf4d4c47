"""Sampling, augmentation, validation figures, the ratio's curve, and a whole small training with its resume."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_training import small
from torch import nn

from descriptors import registry
from descriptors.contract import DescriptorError, DescriptorSpec
from descriptors.datasets.tracks import Tracks, concatenate
from descriptors.frames import angles, centres, frames_from_keypoints, scales
from descriptors.headers import minutes_in_all, read_header
from descriptors.networks import build
from descriptors.runtime import WEIGHTS, read_network
from descriptors.training import ratio as ratios
from descriptors.training import train as training
from descriptors.training.augment import Jitter, Light, change_patches, jitter_frames, turn_frames
from descriptors.training.distill import Distilled
from descriptors.training.machine import Clock
from descriptors.training.objectives import TripletLoss
from descriptors.training.recipes import RECIPES, Data, recipe
from descriptors.training.sampling import ProgressiveSampler, distinct, farthest_pairs, view_pairs
from descriptors.training.validate import average_precision, nearest


def line_of_points(count: int, views: int = 3, gap: float = 10.0) -> Tracks:
    """Points on a line, ``gap`` apart with radius 1, each seen ``views`` times from directions 20 degrees apart."""
    turn = np.tile(np.radians(20) * np.arange(views), count)
    place = np.zeros((count, 3))
    place[:, 0] = gap * np.arange(count)
    return Tracks(
        images=(np.zeros((64, 64), np.uint8),),
        obs_image=np.zeros(count * views, np.int32),
        frames=frames_from_keypoints(np.zeros((count * views, 2)), np.ones(count * views)),
        rays=np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1).astype(np.float32),
        start=np.arange(0, count * views + 1, views),
        place=place,
        radius=np.ones(count),
        group=np.zeros(count, np.int32),
    )


def test_sequence_sees_every_point_once_a_pass() -> None:
    tracks = line_of_points(60)
    sampler = ProgressiveSampler(tracks, sequential=10, random=0, block=5, seed=0)
    first = np.concatenate([sampler.points(step)[:10] for step in range(6)])
    second = np.concatenate([sampler.points(step)[:10] for step in range(6, 12)])
    assert sorted(first) == sorted(second) == list(range(60)) and first.tolist() != second.tolist()


def test_batches_have_one_size_and_no_point_twice() -> None:
    sampler = ProgressiveSampler(line_of_points(100), sequential=24, random=16, block=8, seed=1)
    for step in range(20):
        points = sampler.points(step)
        assert len(points) == len(set(points.tolist())) == 40


def test_batch_depends_on_seed_and_step_alone() -> None:
    tracks = line_of_points(100)
    one, two = (ProgressiveSampler(tracks, sequential=24, random=16, block=8, seed=1) for _ in range(2))
    for step in range(7):
        one.points(step)
    np.testing.assert_array_equal(one.points(3), two.points(3))


def test_points_at_one_place_are_not_negatives_of_each_other() -> None:
    tracks = line_of_points(10, gap=0.7)
    assert distinct(tracks, np.arange(10)).tolist() == [0]
    apart = replace(tracks, group=np.arange(10, dtype=np.int32))
    assert distinct(apart, np.arange(10)).tolist() == list(range(10))


def test_views_are_two_and_far_apart() -> None:
    tracks = line_of_points(50, views=4)
    first, second = view_pairs(tracks, np.arange(50), np.random.default_rng(0), tries=1)
    assert (first != second).all() and (first // 4 == np.arange(50)).all() and (second // 4 == np.arange(50)).all()
    many = view_pairs(tracks, np.arange(50), np.random.default_rng(0), tries=40)
    assert (np.abs(many[0] - many[1]) == 3).all()
    farthest = farthest_pairs(tracks, np.arange(50))
    assert (np.abs(farthest[0] - farthest[1]) == 3).all()


def test_turns_are_the_eight_symmetries_of_a_square() -> None:
    frames = frames_from_keypoints(np.zeros((8, 2)), np.full(8, 2.0), np.full(8, 0.3))
    turned = turn_frames(frames, np.arange(8))
    assert len({tuple(np.round(a.ravel(), 4)) for a in turned[:, :, :2]}) == 8
    np.testing.assert_allclose(np.linalg.det(turned[:, :, :2]), [4] * 4 + [-4] * 4, rtol=1e-5)
    np.testing.assert_allclose(angles(turned[:4]), 0.3 + np.array([0, np.pi / 2, -np.pi, -np.pi / 2]), atol=1e-5)


def test_jitter_has_the_size_it_names() -> None:
    frames = frames_from_keypoints(np.full((4000, 2), 50.0), np.full(4000, 3.0), np.full(4000, 1.0))
    moved = jitter_frames(frames, Jitter(shift=0.2, scale=0.1, angle=0.1, shear=0.0), np.random.default_rng(0))
    assert np.std(np.log(scales(moved) / 3)) == pytest.approx(0.1, rel=0.1)
    assert np.std(angles(moved) - 1.0) == pytest.approx(0.1, rel=0.1)
    assert np.std(centres(moved) - 50) == pytest.approx(0.6, rel=0.1)
    np.testing.assert_allclose(jitter_frames(frames, Jitter(0, 0, 0, 0), np.random.default_rng(0)), frames, atol=1e-5)


def test_light_changes_patches_and_none_leaves_them() -> None:
    rng = np.random.default_rng(0)
    patches = rng.integers(60, 200, (200, 1, 32, 32), dtype=np.uint8)
    none = Light(gamma=0, slope=0, blur_share=0, jpeg_share=0, noise_share=0, clip_share=0)
    np.testing.assert_allclose(change_patches(patches, none, rng).astype(int), patches, atol=1)
    blurred = change_patches(patches, replace(none, blur_share=1.0), rng)
    assert blurred.std(axis=(2, 3)).mean() < 0.7 * patches.std(axis=(2, 3)).mean()
    squeezed = change_patches(patches, replace(none, jpeg_share=1.0), rng)
    change = np.abs(squeezed.astype(int) - patches).mean(axis=(1, 2, 3))
    assert (change > 2).all() and change.mean() < 60


def test_average_precision_by_hand() -> None:
    # Ranked by ratio: right, wrong, right; four rows have a true match: (1/1 + 2/3) / 4.
    correct = np.array([[True, False], [True, False], [False, True], [True, True]])
    best = np.array([0, 1, 1, 0])
    found = average_precision(best[:3], np.array([0.1, 0.2, 0.3]), correct[:3])
    assert found == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(best, np.array([0.1, 0.2, 0.3, 0.9]), correct) == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)


def test_nearest_by_hand() -> None:
    first = np.array([[1.0, 0.0]], np.float32)
    second = np.array([[0.0, 1.0], [0.6, 0.8]], np.float32)
    best, ratio = nearest(first, second)
    assert best.tolist() == [1] and ratio[0] == pytest.approx(np.sqrt(0.8) / np.sqrt(2), rel=1e-5)


def test_epipolar_distance_of_a_sideways_step() -> None:
    k = np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
    poses = np.eye(3, 4), np.c_[np.eye(3), [-1.0, 0.0, 0.0]]
    f = ratios.fundamental_matrix((k, k), poses)
    first = np.array([[10.0, 20.0], [10.0, 20.0]])
    second = np.array([[3.0, 20.0], [3.0, 26.5]])
    np.testing.assert_allclose(ratios.epipolar_distance(first, second, f), [0, 6.5], atol=1e-9)


def test_epipolar_geometry_of_a_point_in_two_turned_photos() -> None:
    k = np.array([[90.0, 0, 51], [0, 95, 42], [0, 0, 1]])
    turn = cv2.Rodrigues(np.array([0.1, -0.3, 0.2]))[0]
    poses = np.eye(3, 4), np.c_[turn, [0.5, 0.2, -0.1]]
    world = np.array([[0.3, -0.2, 4.0], [-1.0, 0.7, 6.0]])
    seen = [(world @ p[:, :3].T + p[:, 3]) @ k.T for p in poses]
    pixels = [s[:, :2] / s[:, 2:] - 0.5 for s in seen]  # K is in COLMAP's pixels
    f = ratios.fundamental_matrix((k, k), poses)
    np.testing.assert_allclose(ratios.epipolar_distance(pixels[0], pixels[1], f), 0, atol=1e-9)


def test_ratio_rows_by_hand() -> None:
    rows = ratios.rows_of(np.array([0.5, 0.7, 0.8, 0.95]), np.array([True, True, False, True]))
    by_ratio = {row.ratio: row for row in rows}
    assert (by_ratio[0.75].precision, by_ratio[0.75].recall) == (1.0, pytest.approx(2 / 3))
    assert (by_ratio[1.0].precision, by_ratio[1.0].recall) == (pytest.approx(3 / 4), 1.0)


def test_advised_ratio_prefers_recall_among_equals() -> None:
    rows = [ratios.Row(0.7, 0.9, 0.6), ratios.Row(0.8, 0.8, 0.805), ratios.Row(0.85, 0.76, 0.84), ratios.Row(1, 0.3, 1)]
    assert ratios.advised(rows) == 0.85
    assert ratios.advised(rows, slack=0.0) == 0.8


def test_ratio_matching_of_bits_and_floats() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 256, (20, 32), dtype=np.uint8)
    rows, ratio = ratios.match_with_ratio(bits, bits[::-1], DescriptorSpec("b", 256, "binary", "hamming"))
    assert rows.tolist() == [[i, 19 - i] for i in range(20)] and (ratio < 0.05).all()
    floats = rng.normal(size=(20, 8)).astype(np.float32)
    floats /= np.linalg.norm(floats, axis=1, keepdims=True)
    rows, ratio = ratios.match_with_ratio(floats, floats[::-1], DescriptorSpec("f", 8))
    assert rows.tolist() == [[i, 19 - i] for i in range(20)] and (ratio < 0.1).all()


def test_every_network_of_the_zoo_has_a_recipe_that_cuts_its_patches() -> None:
    described = {e.spec.name: e.spec for e in registry._NETWORKS if e.spec.kind == "float"}
    specs = described | {name: registry.scorer_spec(name) for name in registry.scorer_names()}
    assert set(RECIPES) == set(specs)

    def shaped(name: str) -> nn.Module:
        with torch.device("meta"):  # without numbers
            return build(name)

    for name, row in RECIPES.items():
        network = shaped(row.network)
        assert network.patch_size == specs[name].patch_size and row.data.magnification == specs[name].magnification
        assert sum(p.numel() for p in network.parameters()) == specs[name].parameters
        assert row.data.jitter.turns == name.endswith("-plus")
        if row.start:
            start = shaped(RECIPES[row.start].network)
            network.adopt(start) if hasattr(network, "adopt") else network.load_state_dict(start.state_dict())
    with pytest.raises(DescriptorError, match="'l2net'"):
        recipe("l2nett")


@pytest.mark.parametrize(
    ("name", "start"), [("swift", "tfeat-margin"), ("swift-large", "swift-small"), ("hynet", "swift")]
)
def test_weights_of_other_layers_are_refused(name: str, start: str, data: Path, tmp_path: Path) -> None:
    weights = WEIGHTS / registry.spec(start).weights
    with pytest.raises(DescriptorError, match="cannot begin with the weights of a"):
        training.train(small(name), data, tmp_path / "n.safetensors", steps=1, start=weights)
    assert not (tmp_path / "n.safetensors").exists()


def test_teachers_and_starts_come_before_those_that_use_them() -> None:
    seen: set[str] = set()
    for name, row in RECIPES.items():
        assert not row.start or row.start in seen
        assert not isinstance(row.loss, Distilled) or row.loss.teacher in seen
        seen.add(name)


def test_a_larger_batch_has_the_same_mixture() -> None:
    row = RECIPES["hardnet"].with_batch(1024)
    assert row.data.pairs == pytest.approx(1024, abs=2)
    assert row.data.scenes[0] == pytest.approx(1024 * RECIPES["hardnet"].data.scenes[0] / 96, abs=1)


def test_the_rate_grows_with_the_batch_but_not_where_its_hardest_negative_is_taken() -> None:
    for name, growth in (("l2net", 2), ("tfeat-margin", 2), ("hardnet", 1), ("swift", 1), ("sosnet", 1), ("hynet", 1)):
        assert RECIPES[name].with_batch(1024).learning_rate == pytest.approx(growth * RECIPES[name].learning_rate)


def test_negatives_grow_from_random_to_hard() -> None:
    loss = TripletLoss(hardest=32, ramp=0.5)
    assert [loss.candidates(done, 255) for done in (0.0, 0.25, 0.5, 1.0)] == [1, 6, 32, 32]
    assert TripletLoss().candidates(1.0, 255) == 1


@pytest.mark.parametrize("network", ["tfeat", "l2net"])
def test_training_lowers_the_loss_and_writes_usable_weights(data: Path, tmp_path: Path, network: str) -> None:
    said: list[training.Progress] = []
    run = training.PatchRun(small(network), data, tmp_path / "n.safetensors", training.Length(1.0, 12), "cpu", 0)
    batch = run.batch(0)
    before = run._loss(run._tensor(batch)).item()
    for _ in range(6):
        run.take(batch)
    assert run._loss(run._tensor(batch)).item() < before
    figures = training.train(small(network), data, tmp_path / "n.safetensors", steps=2, progress=said.append)
    assert 0 <= figures.fpr95 <= 1 and 0 < figures.matching <= 1 and said[-1].step == 2
    assert not (tmp_path / "n.checkpoint").exists()
    with torch.no_grad():
        described = read_network(tmp_path / "n.safetensors")(torch.rand(2, 1, 32, 32) * 255)
    torch.testing.assert_close(described.norm(dim=1), torch.ones(2))


def test_a_metric_network_is_trained_and_judged_by_its_scores(data: Path, tmp_path: Path) -> None:
    sizes = Data(scenes=(8, 4), photos=(3, 1), block=4, views=1, keypoints=20)
    plan = replace(RECIPES["deepcompare-2ch"], data=sizes, precision="fp32")
    figures = training.train(plan, data, tmp_path / "n.safetensors", steps=2)
    assert 0 <= figures.fpr95 <= 1 and 0 < figures.matching <= 1
    assert read_network(tmp_path / "n.safetensors")(torch.rand(4, 1, 64, 64) * 255).shape == (2,)


def test_a_training_that_begins_with_weights_and_has_a_teacher_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "stop", lambda clock: setattr(clock, "spent", clock.spent + 60))
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    training.train(small("tfeat"), data, first, minutes=2)
    training.train(small("tfeat"), data, second, minutes=3, start=first, teacher=str(first))
    before, after = read_header(first), read_header(second)
    assert minutes_in_all(before) == float(before["minutes"]) and not before["started_from"]
    assert after["minutes_before"] == before["minutes"] == "2.0" and before["steps"] == "2"
    assert minutes_in_all(after) == 5 and after["steps"] == "3"
    assert json.loads(after["recipe"])["loss"]["teacher"] == str(first)


def test_a_share_of_the_first_weights_is_kept(data: Path, tmp_path: Path) -> None:
    first, trained, mixed = (tmp_path / f"{name}.safetensors" for name in ("first", "trained", "mixed"))
    training.train(small("tfeat"), data, first, steps=1, seed=1)
    training.train(small("tfeat"), data, trained, steps=3, start=first)
    figures = training.train(small("tfeat"), data, mixed, steps=3, start=first, keep=0.25)
    weights = [read_network(path).state_dict() for path in (first, trained, mixed)]
    for name in weights[0]:
        a, b, got = (state[name].float() for state in weights)
        torch.testing.assert_close(got, 0.25 * a + 0.75 * b, atol=0.01 * float(b.abs().max()), rtol=0)
    assert any(not torch.allclose(weights[0][name].float(), weights[2][name].float()) for name in weights[0])
    assert json.loads(read_header(mixed)["validation"])["matching"] == figures.matching
    assert "A share of 0.25" in mixed.with_suffix(".md").read_text()
    assert not mixed.with_suffix(".checkpoint").exists()
    for keep, start in ((1.0, first), (-0.1, first), (0.5, None)):
        with pytest.raises(DescriptorError, match="share"):
            training.train(small("tfeat"), data, mixed, steps=1, start=start, keep=keep)


@pytest.mark.parametrize("network", ["tfeat", "hardnet"])  # HardNet has dropout
def test_same_seed_same_weights_and_a_killed_training_goes_on_alike(data: Path, tmp_path: Path, network: str) -> None:
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    training.train(small(network), data, whole, steps=4, seed=3)

    class Killed(Exception):
        pass

    interrupted = training.PatchRun(small(network), data, halves, training.Length(1.0, 4), "cpu", 3)
    original = interrupted.take

    def step_then_die(patches: training.Patches) -> torch.Tensor:
        if interrupted.step == 2:
            interrupted.save()
            raise Killed
        return original(patches)

    interrupted.take = step_then_die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        interrupted.steps(lambda _: None)
    assert (tmp_path / "halves.checkpoint").is_file() and read_network(halves) is not None
    training.train(small(network), data, halves, steps=4, seed=3)
    expected, found = (read_network(path).state_dict() for path in (whole, halves))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=2e-3)  # stored in half precision


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut", pickle.dumps({"step": 3}, 2)])
def test_a_damaged_checkpoint_is_told(content: bytes, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.safetensors"
    out.with_suffix(".checkpoint").write_bytes(content)
    with pytest.raises(DescriptorError, match=r"is damaged. Remove it, or begin anew with --no-resume"):
        training.train(small("tfeat"), data, out, steps=1)
    training.train(small("tfeat"), data, out, steps=1, resume=False)


def test_checkpoint_of_another_training_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.safetensors"
    run = training.PatchRun(small("tfeat"), data, out, training.Length(1.0, 4), "cpu", 0)
    run.save()
    with pytest.raises(DescriptorError, match="resume=False"):
        training.train(small("tfeat"), data, out, steps=1, seed=1)


def test_device_that_is_not_here_is_told(data: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DescriptorError, match="--device cpu"):
        training.train("tfeat-margin", data, tmp_path / "n.safetensors", steps=1, device="cuda")


def test_joining_nothing_is_told() -> None:
    with pytest.raises(ValueError, match="one scene"):
        concatenate([])


def test_margins_and_thresholds_of_a_metric_network_by_hand() -> None:
    leads = np.array([3.0, 2.0, 1.0, np.inf], np.float32)
    found = ratios.ScoredPairs(np.array([9.0, 8.0, 1.0, 7.0], np.float32), leads, np.array([True, True, False, True]))
    every = found.margins()[-1]
    assert (every.ratio, every.precision, every.recall) == (0.0, 0.75, 1.0)
    assert -2.0 <= ratios.advised(found.margins()) < -1.0  # keeps the lead of 2, drops that of 1
    lowest = found.thresholds(0.0)[-1]
    assert (lowest.ratio, lowest.precision, lowest.recall) == (-1.0, 0.75, 1.0)
    assert -8.0 <= ratios.advised(found.thresholds(0.0)) <= -1.0 and max(r.f1 for r in found.thresholds(0.0)) == 1.0
