"""Objectives of metric networks: matching pairs of a batch against as many that do not match, by their scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from descriptors.training import losses
from descriptors.training.objectives import Moment


@dataclass(frozen=True)
class PairCrossEntropy:
    """MatchNet's loss (CVPR 2015).

    Attributes:
        hardest: half of the negatives are random others, as in the paper; half are the one of this many random others
            that the network finds most alike.
    """

    hardest: int = 8

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network with ``features`` and ``score``, whose scores are log-odds."""
        return losses.pair_cross_entropy(*score_pairs(network, patches, moment, hardest=self.hardest))


@dataclass(frozen=True)
class PairHinge:
    """DeepCompare's loss (CVPR 2015).

    Attributes:
        hardest: as in :class:`PairCrossEntropy`.
    """

    hardest: int = 4

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network with ``features`` and ``score``."""
        return losses.pair_hinge(*score_pairs(network, patches, moment, hardest=self.hardest))


@dataclass(frozen=True)
class GlobalScoreLoss:
    """The global loss on the scores of SNet (CVPR 2016).

    Attributes:
        margin: by which the mean scores of matches and of others shall differ.
        weight: of that difference beside the variances.
        hardest: as in :class:`PairCrossEntropy`.
    """

    margin: float = 1.0
    weight: float = 1.0
    hardest: int = 4

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network with ``features`` and ``score``."""
        positive, negative = score_pairs(network, patches, moment, hardest=self.hardest)
        return losses.global_loss(-positive, -negative, margin=self.margin, weight=self.weight)


def score_pairs(network: Any, patches: Tensor, moment: Moment, *, hardest: int) -> tuple[Tensor, Tensor]:
    """Scores (N,) of the N pairs of a batch (2N,1,S,S) and (N,) of as many that do not match.

    Each pair is read in a random order, so that a metric network that is not symmetric learns to be nearly so.
    """
    count = len(patches) // 2
    rows = torch.arange(count)
    with moment.autocast():
        features = network.features(patches)
        others = _others(network, features, moment.generator, hardest)
        left, right = torch.cat([rows, rows]), count + torch.cat([rows, others])
        turned = torch.rand(2 * count, generator=moment.generator) < 0.5
        first, second = torch.where(turned, right, left), torch.where(turned, left, right)
        scores = network.score(features[first.to(features.device)], features[second.to(features.device)]).float()
    return scores[:count], scores[count:]


def _others(network: Any, features: Tensor, generator: torch.Generator, hardest: int) -> Tensor:
    """For each pair another (N,) whose second side is its negative: at random, every other one the hardest of some."""
    count = len(features) // 2
    candidates = min(hardest, count - 1)
    shift = torch.rand(count, count - 1, generator=generator).argsort(dim=1)[:, :candidates] + 1
    drawn = (torch.arange(count)[:, None] + shift) % count
    chosen = drawn[:, 0].clone()
    if candidates > 1:
        mined = torch.arange(0, count, 2)
        first = mined[:, None].expand(-1, candidates).reshape(-1).to(features.device)
        second = (count + drawn[mined].reshape(-1)).to(features.device)
        network.eval()  # the running figures of a batch norm are of what is trained on
        with torch.no_grad():
            scores = network.score(features[first], features[second]).float().reshape(-1, candidates)
        network.train()
        chosen[mined] = drawn[mined, scores.argmax(dim=1).cpu()]
    return chosen
