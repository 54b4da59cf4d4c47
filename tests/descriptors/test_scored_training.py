"""Training of metric networks: which pairs are scored, figures by scores, and small trainings of the real networks."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import descriptors
from descriptors.networks import SCORERS, build
from descriptors.scorers import halved_rootsift
from descriptors.training.objectives import Moment
from descriptors.training.recipes import RECIPES
from descriptors.training.scored import Candidates, GlobalScoreLoss, PairCrossEntropy, PairHinge, score_pairs
from descriptors.training.validate import ValidationSet, _MadePair


def moment(seed: int = 0) -> Moment:
    return Moment(0.5, torch.Generator().manual_seed(seed), nullcontext)


class Numbers(nn.Module):
    """A metric network on numbered patches, which writes down what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def features(self, patches: Tensor) -> Tensor:
        return patches.mean(dim=(1, 2, 3))[:, None]

    def score(self, first: Tensor, second: Tensor) -> Tensor:
        self.asked.append((first[:, 0], second[:, 0]))
        return -(first - second).abs()[:, 0]


def numbered(count: int) -> Tensor:
    """Pair i is i · 10 on its first side and i · 10 + 1 on its second."""
    numbers = torch.arange(count) * 10.0
    return torch.cat([numbers, numbers + 1])[:, None, None, None].expand(-1, 1, 4, 4)


def test_pairs_are_true_and_others_are_not() -> None:
    for seed in range(20):
        network = Numbers()
        positive, negative = score_pairs(network, numbered(6), moment(seed), Candidates(1))
        torch.testing.assert_close(positive, torch.full((6,), -1.0))
        assert (negative <= -9).all() and len(network.asked) == 1
        first, second = network.asked[0]
        assert ((first % 10 == 0) == (second % 10 == 1)).all()  # never two patches of one side
    assert (first % 10 == 0).any() and (first % 10 == 1).any()  # read in both orders


def test_every_other_negative_is_the_hardest() -> None:
    # Pair i against the second side of pair j scores −|10 (i − j) − 1|: best for j = i − 1, and for i = 0 for j = 1.
    network = Numbers()
    _, negative = score_pairs(network, numbered(6), moment(), Candidates(5))
    assert negative[[0, 2, 4]].tolist() == [-11.0, -9.0, -9.0]
    assert network.training
    random = torch.stack(
        [score_pairs(Numbers(), numbered(6), moment(s), Candidates(5))[1][[1, 3, 5]] for s in range(20)]
    )
    assert len(random.unique()) > 5


def test_shortlisted_candidates_are_rootsifts_nearest(rng: np.random.Generator) -> None:
    coarse = np.kron(rng.uniform(0, 255, (6, 1, 8, 8)), np.ones((1, 1, 8, 8))).astype(np.float32)
    patches = torch.from_numpy(np.concatenate([coarse, np.roll(coarse, 1, axis=0) + rng.normal(0, 5, coarse.shape)]))
    drawn = (torch.arange(6)[:, None] + torch.arange(1, 6)) % 6
    # The second side of pair i is nearly the first of pair i − 1, so that the nearest other of i stands in pair i + 1.
    assert Candidates(1, shortlisted=True).among(patches, drawn)[:, 0].tolist() == [1, 2, 3, 4, 5, 0]
    among = Candidates(9, shortlisted=True).among(patches, drawn)
    assert among.shape == (6, 5) and not (among == torch.arange(6)[:, None]).any()


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_every_network_learns_a_batch_by_its_recipe(name: str) -> None:
    torch.manual_seed(0)
    network, recipe = build(name).train(), RECIPES[name]
    coarse = torch.rand(8, 1, 8, 8).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3) * 255
    patches = torch.cat([coarse, (0.8 * coarse + 20 + 8 * torch.randn(coarse.shape)).clamp(0, 255)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4)
    losses = []
    for _ in range(6):  # the same negatives in each step, so that the loss has to fall
        optimizer.zero_grad()
        loss = recipe.loss(network, patches, moment())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None for p in network.parameters())
    assert min(losses[-2:]) < 0.9 * losses[0]


def test_each_recipe_has_its_papers_loss() -> None:
    kinds = {"matchnet": PairCrossEntropy, "deepcompare": PairHinge, "gloss": GlobalScoreLoss}
    for name in SCORERS:
        assert isinstance(RECIPES[name].loss, kinds[name.split("-")[0]])
        assert RECIPES[name].network == name


class Sides(ValidationSet):
    """A validation set of given patches."""

    def __init__(self, sides: tuple[np.ndarray, np.ndarray]) -> None:
        self._sides = [sides]
        self._made = [_MadePair(sides, np.eye(len(sides[0]), dtype=bool))]


def unit(patches: np.ndarray) -> np.ndarray:
    rows = patches.reshape(len(patches), -1).astype(np.float32) - 128
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_figures_by_scores_are_those_by_distance_where_all_pairs_are_scored() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (30, 1, 4, 4)).astype(np.uint8)
    second = np.clip(first + rng.normal(0, 110, first.shape), 0, 255).astype(np.uint8)
    given = Sides((first, second))
    by_distance = given.figures(unit)
    by_score = given.scored_figures(unit, lambda a, b: (a * b).sum(axis=1), unit, candidates=29)
    assert 0.2 < by_distance.rank1 < 1 and by_distance.fpr95 > 0.05
    assert by_score.rank1 == pytest.approx(by_distance.rank1, abs=1 / 30)  # one of 30 candidates is left out
    assert by_score.fpr95 == pytest.approx(by_distance.fpr95)


def test_a_perfect_and_a_blind_network() -> None:
    patches = np.random.default_rng(1).integers(0, 256, (40, 1, 4, 4)).astype(np.uint8)
    given = Sides((patches, patches))
    perfect = given.scored_figures(unit, lambda a, b: (a * b).sum(axis=1), unit)
    assert (perfect.fpr95, perfect.rank1, perfect.matching) == (0.0, 1.0, 1.0)
    noise = np.random.default_rng(2)
    blind = given.scored_figures(unit, lambda a, b: noise.random(len(a)).astype(np.float32), unit)
    assert blind.fpr95 > 0.8 and blind.rank1 < 0.6


def test_halved_rootsift_is_rootsift_of_half_the_patch() -> None:
    small = np.random.default_rng(3).integers(0, 256, (5, 1, 32, 32)).astype(np.uint8)
    double = small.repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_allclose(halved_rootsift(double), descriptors.load("rootsift").describe(small), atol=1e-6)
    assert halved_rootsift(double[:0]).shape == (0, 128)
