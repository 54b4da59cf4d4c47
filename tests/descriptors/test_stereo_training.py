"""Training of a matching cost: semi-global matching with gradients against the engine and against differences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from descriptors import DescriptorError
from descriptors.datasets.scenes import DataError
from descriptors.datasets.stereo_pairs import Camera, PairRange, cameras, read_pair, taken
from descriptors.headers import read_header
from descriptors.networks import build
from descriptors.runtime import read_network
from descriptors.training.stereo import StereoRecipe, cosines_of, matching_loss, train_stereo
from descriptors.training.stereo_sgm import Aggregate
from descriptors.training.stereo_source import Cut, StereoSource
from pipelines.depth.sgm import Penalties, aggregate


def sums(cost: torch.Tensor, guide: np.ndarray, small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    return Aggregate.apply(cost, guide, small, large, 6.0, 40.0)  # type: ignore[no-untyped-call]


def given(seed: int, shape: tuple[int, ...] = (2, 7, 9, 6)) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(seed)
    cost = torch.from_numpy(rng.integers(0, 256, shape).astype(np.float32))
    return cost, rng.integers(0, 60, (*shape[:3], 3)).astype(np.uint8)


def test_sums_are_the_engines() -> None:
    cost, guide = given(0)
    ours = sums(cost, guide, torch.tensor(30.0), torch.tensor(300.0))
    for number in range(2):
        theirs = aggregate(cost[number].numpy().astype(np.uint8), guide[number], Penalties(30, 300, 6.0, 40))
        assert np.abs(ours[number].numpy() - theirs).max() < 8  # the engine rounds the penalty of each step


@pytest.mark.parametrize("what", ["cost", "small", "large"])
def test_gradients_are_differences(what: str) -> None:
    cost, guide = given(1)
    cost += 0.37 * torch.rand(cost.shape, generator=torch.Generator().manual_seed(0))  # no ties
    weights = torch.randn(cost.shape, generator=torch.Generator().manual_seed(1)).double()
    at = {"cost": cost, "small": torch.tensor(30.0), "large": torch.tensor(200.0)}
    turn = (
        torch.randn(at[what].shape, generator=torch.Generator().manual_seed(2)) if what == "cost" else torch.tensor(1.0)
    )

    def total(step: float) -> torch.Tensor:
        moved = {**at, what: at[what] + step * turn}
        return (sums(moved["cost"], guide, moved["small"], moved["large"]).double() * weights).sum()

    at[what].requires_grad_(True)
    total(0.0).backward()
    with torch.no_grad():
        difference = float(total(0.02) - total(-0.02)) / 0.04
    assert at[what].grad is not None
    found = float((at[what].grad * turn).sum())
    assert abs(found - difference) < 0.05 * abs(difference) + 0.5


def test_cosines_are_ordered_by_disparity() -> None:
    """A vector for each grey value, one column one value: the right picture shows at x what the left shows at x + 3."""
    left = torch.nn.functional.one_hot(torch.arange(20) + 20, 64).T.float()[None, :, None].expand(1, 64, 4, 20)
    right = torch.nn.functional.one_hot(torch.arange(29) + 20 - 9 + 3, 64).T.float()[None, :, None].expand(1, 64, 4, 29)
    found = cosines_of(left, right, 10)
    assert found.shape == (1, 4, 20, 10) and (found.argmax(dim=3) == 3).all() and found.sum() == 80


def test_the_loss_is_small_where_the_right_disparity_wins_and_bounded_elsewhere() -> None:
    logits = torch.zeros(5, 10)
    logits[:, 3] = 30
    at = torch.full((5,), 3.0)
    assert matching_loss(logits, at) < 0.1 and matching_loss(logits, at + 0.4) < 0.6
    assert 1 < matching_loss(logits, at + 4) < 1.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve photos of noise of several sizes below photos/."""
    place = tmp_path_factory.mktemp("data")
    (place / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (120, 160, 3)).astype(np.uint8), (0, 0), 0.5 + 0.2 * number)
        cv2.imwrite(str(place / "photos" / f"{number:02d}.png"), cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX))
    return place


SMALL = PairRange(width=160, height=100, largest=20)


def test_batches_show_at_a_disparity_what_the_left_picture_shows(folder: Path) -> None:
    looks = replace(SMALL, gain=0, gamma=0, noise=0.3, blur=0)
    source = StereoSource(folder, looks, Cut(60, 80, 20, 5), pairs=3, scenes=4, seed=1)
    crops, again = source.batch(2), source.batch(2)
    assert torch.equal(crops.left, again.left) and torch.equal(crops.guide, again.guide)
    assert crops.left.shape == (3, 1, 70, 90) and crops.right.shape == (3, 1, 70, 109)
    assert not torch.equal(source.batch(3).left, crops.left)
    n, y, x = torch.nonzero(crops.seen & ((crops.disparity % 1 - 0.5).abs() > 0.4), as_tuple=True)
    there = crops.right[n, 0, y + 5, x + 5 + 19 - crops.disparity[n, y, x].round().long()]
    assert (crops.left[n, 0, y + 5, x + 5] - there).abs().median() < 0.1


def test_rendered_pairs_are_taken_where_they_are_given(folder: Path, tmp_path: Path) -> None:
    looks = replace(SMALL, gain=0, gamma=0, noise=0.3, blur=0, alike=1.0)
    cut = Cut(60, 80, 20, 5)
    made = StereoSource(folder, looks, cut, pairs=2, scenes=2, seed=1)
    for number in range(2):
        light, place = made._light(number), tmp_path / f"room-{number}"
        place.mkdir()
        for name, side in (("im0.png", light.left), ("im1.png", light.right)):
            cv2.imwrite(str(place / name), side[:, :, ::-1])
        cv2.imwrite(str(place / "disp0.pfm"), light.disparity)
        cv2.imwrite(str(place / "mask0nocc.png"), np.where(light.visible, 255, 128).astype(np.uint8))
    given = StereoSource([folder, f"pairs:{tmp_path}"], looks, cut, pairs=2, scenes=9, seed=1).batch(4)
    expected = made.batch(4)
    for name in ("left", "right", "disparity", "seen", "guide"):
        assert torch.equal(getattr(given, name), getattr(expected, name)), name
    (tmp_path / "room-1" / "mask0nocc.png").unlink()
    with pytest.raises(DataError, match="mask0nocc"):
        read_pair(tmp_path / "room-1")
    with pytest.raises(DataError, match=r"disp0\.pfm"):
        StereoSource([folder, f"pairs:{folder}"], looks, cut, pairs=2, scenes=2, seed=1)


def test_cameras_are_alike_or_not_and_a_perfect_one_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    one, other = cameras(PairRange(alike=1.0), rng)
    assert one == other and one.noise <= 1
    one, other = cameras(PairRange(alike=0.0), rng)
    assert one.gain != other.gain
    light = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_array_equal(taken(light, Camera(), rng), light)
    assert 1.5 < np.std(taken(np.full((50, 50), 100, np.uint8), Camera(noise=2.0), rng)) < 2.5


def test_the_network_begins_as_a_census_transform_in_which_what_differs_much_fades() -> None:
    network: Any = build("swift-stereo").eval()
    level = 128 + 40 * torch.randn(1, 1, 11, 11, generator=torch.Generator().manual_seed(0))
    level[0, 0, 5, 5] = 128
    faint, strong, other = level.clone(), level.clone(), level.clone()
    level[0, 0, 5, 6], faint[0, 0, 5, 6], other[0, 0, 5, 6], strong[0, 0, 5, 6] = 135.0, 138.0, 121.0, 250.0
    shares = {n: network.layers(_standard(g))[0, :, 0, 0] for n, g in (("f", faint), ("o", other), ("s", strong))}
    own, place = network.layers(_standard(level))[0, :, 0, 0], 31
    assert own[place] > shares["f"][place] > 0.7 * own[place] > 0.3
    assert abs(own[place] + shares["o"][place]) < 1e-5  # a sign
    assert 0 < shares["s"][place] < 0.3 * own[place]
    flat = network(torch.full((1, 1, 11, 11), 100.0))[0]
    assert flat.argmax() == 63 and flat[63] > 0.999


def _standard(patch: torch.Tensor) -> torch.Tensor:
    return (patch - 128) / 40


def test_trained_resumed_and_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = StereoRecipe(scenes=4, crop=(40, 60), pairs=2, disparities=20, warmup=1, looks=SMALL)
    whole, parts = tmp_path / "whole" / "mine.safetensors", tmp_path / "parts" / "mine.safetensors"
    figures = train_stereo(plan, folder, whole, steps=4)
    assert 0.2 < figures.at_edges <= figures.within_1 <= 1
    monkeypatch.setattr("descriptors.training.run.CHECKPOINT_SECONDS", -1.0)

    def stop(state: object) -> None:
        if state.step == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stereo(plan, folder, parts, steps=4, progress=stop)
    assert parts.with_suffix(".checkpoint").is_file()
    train_stereo(plan, folder, parts, steps=4)
    assert not parts.with_suffix(".checkpoint").exists()
    for name, values in read_network(whole).state_dict().items():
        torch.testing.assert_close(read_network(parts).state_dict()[name], values)
    trained: Any = read_network(whole).layers
    new: Any = build("swift-stereo").layers
    assert not torch.equal(trained[0].weight, new[0].weight)
    for number in (0, 2):
        assert (trained[number].weight[new[number].weight == 0] == 0).all()
    assert trained[0].weight.sum(dim=(1, 2, 3)).abs().max() < 0.03  # in half precision
    header = read_header(whole)
    assert header["steps"] == "4" and header["network"] == "swift-stereo"
    card = whole.with_suffix(".md").read_text()
    assert "4 steps" in card and f"{100 * figures.within_1:.1f} %" in card
    assert "within 1 px" in whole.with_suffix(".svg").read_text()
    with pytest.raises(DescriptorError, match="another recipe, seed"):
        parts.with_suffix(".checkpoint").write_bytes(b"")
        torch.save({"identity": ""}, parts.with_suffix(".checkpoint"))
        train_stereo(plan, folder, parts, steps=4)
