"""What a network is asked to do with a batch: one frozen row per paper, called by the training loop.

An objective is ``objective(network, patches, moment) -> loss``: patches (2N,1,S,S) in 0..255, of which rows i and N + i
show one place. It joins the functions of :mod:`descriptors.training.losses`; how far the training is, its random
numbers and its precision come with the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from descriptors.networks.normalize import unit_length
from descriptors.training import losses


@dataclass(frozen=True)
class Moment:
    """Where a training stands when a batch comes.

    Attributes:
        done: share of the training that is over, 0..1; 1 from the start for one that begins with trained weights, which
            need nothing made easy for them at first.
        generator: random numbers, drawn where the network is; kept in the checkpoint, so that a resumed training goes
            on alike.
        autocast: opens the context in which the network runs, bf16 or nothing.
    """

    done: float
    generator: torch.Generator
    autocast: Callable[[], AbstractContextManager[Any]]


class Objective(Protocol):
    """A loss of a paper together with its sampling inside the batch."""

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss, a scalar, of patches (2N,1,S,S); rows i and N + i are a pair."""
        ...


@dataclass(frozen=True)
class L2NetLoss:
    """E1 + E2 + E3 of L2-Net (CVPR 2017).

    Attributes:
        sharpness: factor on the distances of E1; the paper has 1.
        map_sharpness: factor on the normalised products of E3.
        first_map: take E3 on the map after the first batch norm too, as the paper does, not on the last alone.
    """

    sharpness: float = 1.0
    map_sharpness: float = 10.0
    first_map: bool = True

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network that has ``feature_maps``."""
        count = len(patches) // 2
        with moment.autocast():
            first, last = network.feature_maps(patches)  # type: ignore[operator]
        described = unit_length(last.flatten(1))
        a, b = described[:count], described[count:]
        loss = losses.relative_distance(losses.distance_matrix(a, b), sharpness=self.sharpness)
        loss = loss + losses.correlation(a) + losses.correlation(b)
        for maps in (first, last) if self.first_map else (last,):
            loss = loss + losses.relative_similarity(maps[:count], maps[count:], sharpness=self.map_sharpness)
        return loss


@dataclass(frozen=True)
class TripletLoss:
    """TFeat's triplet margin loss with anchor swap (BMVC 2016).

    Attributes:
        margin: of the paper's hinge.
        hardest: the negative is the hardest of this many random others; 1 is the paper's random negative.
        ramp: share of the training over which that number grows from 1: hardest from the start lets the network
            collapse to one point.
        orthogonal: weight of the regulariser that keeps it from it, as in :class:`HardestOfBatch`.
    """

    margin: float = 1.0
    hardest: int = 1
    ramp: float = 0.5
    orthogonal: float = 0.0

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Mean hinge over one triplet a pair."""
        distances, dim = _pair_distances(network, patches, moment)
        negatives = losses.hard_negatives(distances, self.candidates(moment.done, len(distances) - 1), moment.generator)
        loss = self.of_triplets(distances.diagonal(), losses.swapped_negatives(distances, negatives))
        return loss + self.orthogonal * losses.orthogonality(distances, dim) if self.orthogonal else loss

    def of_triplets(self, near: Tensor, far: Tensor) -> Tensor:
        """Loss of the distances (N,) of the triplets."""
        return losses.triplet_margin(near, far, margin=self.margin)

    def candidates(self, done: float, count: int) -> int:
        """Number of candidates when a share ``done`` is over and there are ``count`` other pairs."""
        return min(count, round(self.hardest ** _ramped(done, self.ramp)))


@dataclass(frozen=True)
class HardestOfBatch:
    """What the losses that take the hardest negative of the batch have in common: they are not left alone.

    Of a thousand pairs, points of one scene beside each other among them, that negative is nearer than the match, for a
    random network always and for a good one half of the time. The loss then is above its margin, which is what it would
    be with all patches at one point: to draw them there is the way down, and nothing leads out.

    Attributes:
        ease: share of a training that begins with random weights over which L2-Net's E1, which all patches of the batch
            take part in, gives way to the paper's loss.
        orthogonal: weight of the regulariser that makes one point dear.
    """

    ease: float = 0.1
    orthogonal: float = 1.0

    def kept_apart(self, loss: Tensor, between: Tensor, dim: int, moment: Moment) -> Tensor:
        """The paper's ``loss`` with what it is not left without; ``between`` (N,N) are first to second sides."""
        loss = loss + self.orthogonal * losses.orthogonality(between, dim)
        share = _ramped(moment.done, self.ease)
        if share >= 1:
            return loss
        return share * loss + (1 - share) * losses.relative_distance(between, sharpness=_EASY_SHARPNESS)


_EASY_SHARPNESS = 10.0


@dataclass(frozen=True)
class HardestInBatch(HardestOfBatch):
    """HardNet's triplet margin on the hardest negative of the batch (NIPS 2017).

    Attributes:
        margin: of the hinge; the paper has 1.
    """

    margin: float = 1.0

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Mean hinge over one triplet a pair."""
        distances, dim = _pair_distances(network, patches, moment)
        loss = losses.triplet_margin(distances.diagonal(), losses.hardest_distance(distances), margin=self.margin)
        return self.kept_apart(loss, distances, dim, moment)


@dataclass(frozen=True)
class TripletRatio(TripletLoss):
    """TFeat's ratio loss with anchor swap (BMVC 2016); ``margin`` is not used. Distances are at most 2 here.

    Attributes:
        sharpness: factor on the distances. The paper's vectors have any length, up to √128 each; between unit vectors
            the loss could fall from 0.5 to 0.03 at best, and hardly tell near from far.
    """

    sharpness: float = 5.0

    def of_triplets(self, near: Tensor, far: Tensor) -> Tensor:
        """Loss of the distances (N,) of the triplets."""
        return losses.triplet_ratio(self.sharpness * near, self.sharpness * far)


@dataclass(frozen=True)
class KumarLoss(TripletLoss):
    """TNet's triplet loss (CVPR 2016), alone or with the global loss; ``margin`` is that of the triplets.

    Attributes:
        spread: weight of the global loss on squared distances over 4: 0 is the paper's TLoss, 1 its TGLoss.
        gap: the global loss's margin between the means, and ``pull`` its weight beside the variances.
    """

    margin: float = 0.01
    spread: float = 0.0
    gap: float = 0.4
    pull: float = 0.8

    def of_triplets(self, near: Tensor, far: Tensor) -> Tensor:
        """Loss of the distances (N,) of the triplets."""
        loss = losses.triplet_quotient(near, far, margin=self.margin)
        if not self.spread:
            return loss
        heaps = losses.global_loss(near.square() / 4, far.square() / 4, margin=self.gap, weight=self.pull)
        return loss + self.spread * heaps


@dataclass(frozen=True)
class SOSNetLoss(HardestOfBatch):
    """Quadratic hinge on the hardest negative, and second-order similarity (CVPR 2019).

    Attributes:
        margin: of the hinge.
        neighbours: on either side, over which distances within the sides are compared.
    """

    margin: float = 1.0
    neighbours: int = 8

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """First-order and second-order term, each a mean over pairs."""
        described = _described(network, patches, moment)
        between, first, second = _all_distances(described)
        hardest = losses.hardest_of_four(between, first, second)
        loss = losses.quadratic_triplet(between.diagonal(), hardest, margin=self.margin)
        loss = loss + losses.second_order(first, second, neighbours=self.neighbours)
        return self.kept_apart(loss, between, described.shape[1], moment)


@dataclass(frozen=True)
class HyNetLoss(HardestOfBatch):
    """Triplet margin on the hybrid of inner product and L2 on the hardest negative, and equal lengths (NeurIPS 2020).

    Attributes:
        margin, alpha: of the hinge, and the inner product's weight beside L2.
        lengths: weight of the difference in length of the two raw vectors.
    """

    margin: float = 1.2
    alpha: float = 2.0
    lengths: float = 0.1

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of a network that has ``raw``."""
        with moment.autocast():
            raw = network.raw(patches)  # type: ignore[operator]
        between, first, second = _all_distances(unit_length(raw))
        hardest = losses.hardest_of_four(between, first, second)
        near, far = (losses.hybrid_distance(d, alpha=self.alpha) for d in (between.diagonal(), hardest))
        count = len(patches) // 2
        loss = losses.triplet_margin(near, far, margin=self.margin)
        loss = loss + self.lengths * losses.length_difference(raw[:count], raw[count:])
        return self.kept_apart(loss, between, raw.shape[1], moment)


@dataclass(frozen=True)
class DeepDescLoss:
    """DeepDesc's pairwise hinge with mining of both kinds of pairs (ICCV 2015); squared, where the paper's is not.

    Between unit vectors the plain hinge pulls as hard at a hard match as it pushes at a hard other, and the hard
    matches are farther apart: in a trial of 45 steps both distances halved. Squared, the pull fades as they shrink.

    Attributes:
        margin: the paper has 4 for vectors of any length, of which the longest is √(128 · 16); unit vectors whose
            numbers are all positive, as L2 pooling leaves them, are at most √2 apart.
        mining: K_f / K_b: of all pairs that go forward, the hardest of this share go back, among those that match and
            among those that do not.
        ramp: share of the training over which that factor grows from 1: with the hardest alone from the start,
            shrinking all distances is the quickest way down.
    """

    margin: float = 1.0
    mining: float = 8.0
    ramp: float = 0.5

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Loss of the hardest pairs; only they are run with gradients."""
        count = len(patches) // 2
        with torch.no_grad():
            described = _described(network, patches, moment)
        other = losses.drawn_others(count, moment.generator)[:, 0].to(patches.device)
        near = (described[:count] - described[count:]).norm(dim=1)
        far = (described[:count] - described[count:][other]).norm(dim=1)
        factor = self.mining ** _ramped(moment.done, self.ramp)
        match, differ = losses.hardest_share(near, factor), losses.hardest_share(-far, factor)
        rows = torch.cat([match, count + match, differ, count + other[differ]])
        once, back = torch.unique(rows, return_inverse=True)  # a patch in several of the pairs is run once
        again = _described(network, patches[once], moment)[back]
        a, b, c, d = again.split([len(match), len(match), len(differ), len(differ)])
        apart = ((x - y).square().sum(dim=1).add(1e-8).sqrt() for x, y in ((a, b), (c, d)))
        return losses.contrastive(*apart, margin=self.margin)


def _ramped(done: float, ramp: float) -> float:
    """0 to 1 while a share ``ramp`` of a training goes by; 1 without a ramp."""
    return min(1.0, done / ramp) if ramp else 1.0


def _described(network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
    with moment.autocast():
        return network(patches)


def _all_distances(described: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L2 distances (N,N) from first to second sides, within the first, within the second, of unit vectors (2N,D)."""
    count = len(described) // 2
    a, b = described[:count], described[count:]
    return losses.distance_matrix(a, b), losses.distance_matrix(a, a), losses.distance_matrix(b, b)


def _pair_distances(network: nn.Module, patches: Tensor, moment: Moment) -> tuple[Tensor, int]:
    """L2 distances (N,N) between the first sides of the pairs and the second, and the number of dimensions."""
    count = len(patches) // 2
    described = _described(network, patches, moment)
    return losses.distance_matrix(described[:count], described[count:]), described.shape[1]
