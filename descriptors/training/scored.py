"""Objectives of metric networks: matching pairs of a batch against as many that do not match, by their scores.

Half of the negatives are random others, as in the papers; half are the one of some candidates that the network finds
most alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from descriptors.scorers import halved_rootsift
from descriptors.training import losses
from descriptors.training.objectives import Moment


@dataclass(frozen=True)
class Candidates:
    """Others of a batch among which the hard negative of a pair is looked for.

    A network that describes scores many random ones for little. A 2-channel one pays a description for each of them:
    of 191 others, RootSIFT's 4 nearest are as hard for it as 64 random ones, and it is these that it has to tell apart
    when it is used, because RootSIFT is its shortlist.

    Attributes:
        count: so many; 1 is no choice.
        shortlisted: the nearest by RootSIFT; without it, random ones.
    """

    count: int
    shortlisted: bool = False

    def among(self, patches: Tensor, drawn: Tensor) -> Tensor:
        """Candidates (N,K) of the pairs of a batch (2N,1,S,S), whose others ``drawn`` (N,N-1) are in a random order."""
        count = min(self.count, drawn.shape[1])
        if not self.shortlisted:
            return drawn[:, :count]
        first, second = torch.from_numpy(halved_rootsift(patches.cpu().numpy())).chunk(2)
        return (first @ second.T).fill_diagonal_(-torch.inf).topk(count).indices.to(drawn.device)


_RANDOM = Candidates(64)


@dataclass(frozen=True)
class PairCrossEntropy:
    """MatchNet's loss (CVPR 2015).

    Attributes:
        hardest: among which candidates hard negatives are looked for.
    """

    hardest: Candidates = _RANDOM

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network with ``features`` and ``score``, whose scores are log-odds."""
        return losses.pair_cross_entropy(*score_pairs(network, patches, moment, self.hardest))


@dataclass(frozen=True)
class PairHinge:
    """DeepCompare's loss (CVPR 2015).

    Attributes:
        hardest: as in :class:`PairCrossEntropy`.
    """

    hardest: Candidates = _RANDOM

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network with ``features`` and ``score``."""
        return losses.pair_hinge(*score_pairs(network, patches, moment, self.hardest))


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
    hardest: Candidates = _RANDOM

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network with ``features`` and ``score``."""
        positive, negative = score_pairs(network, patches, moment, self.hardest)
        return losses.global_loss(-positive, -negative, margin=self.margin, weight=self.weight)


def score_pairs(network: Any, patches: Tensor, moment: Moment, hardest: Candidates) -> tuple[Tensor, Tensor]:
    """Scores (N,) of the N pairs of a batch (2N,1,S,S) and (N,) of as many that do not match.

    Each pair is read in a random order, so that a metric network that is not symmetric learns to be nearly so.
    """
    count = len(patches) // 2
    others = losses.drawn_others(count, moment.generator)
    rows = torch.arange(count, device=others.device)
    candidates = hardest.among(patches, others)
    with moment.autocast():
        features = network.features(patches)
        negatives = others[:, 0].clone()
        negatives[::2] = _hardest(network, features, rows[::2], candidates[::2])
        left, right = torch.cat([rows, rows]), count + torch.cat([rows, negatives])
        turned = torch.rand(2 * count, generator=moment.generator, device=rows.device) < 0.5
        first, second = torch.where(turned, right, left), torch.where(turned, left, right)
        scores = network.score(features[first.to(features.device)], features[second.to(features.device)]).float()
    return scores[:count], scores[count:]


def _hardest(network: Any, features: Tensor, rows: Tensor, candidates: Tensor) -> Tensor:
    """For the first side of each of ``rows`` (M,) that of its candidates (M,K) whose second side scores highest."""
    if candidates.shape[1] == 1:
        return candidates[:, 0]
    first = rows[:, None].expand_as(candidates).reshape(-1).to(features.device)
    second = (len(features) // 2 + candidates.reshape(-1)).to(features.device)
    network.eval()  # the running figures of a batch norm are of what is trained on
    with torch.no_grad():
        scores = network.score(features[first], features[second]).float().reshape(candidates.shape)
    network.train()
    return candidates.gather(1, scores.argmax(dim=1, keepdim=True).to(candidates.device))[:, 0]
