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
        done: share of the training that is over, 0..1.
        generator: random numbers on the CPU; kept in the checkpoint, so that a resumed training goes on alike.
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
    """

    margin: float = 1.0
    hardest: int = 1
    ramp: float = 0.5

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Mean hinge over one triplet a pair."""
        distances = _pair_distances(network, patches, moment)
        negatives = losses.hard_negatives(distances, self.candidates(moment.done, len(distances) - 1), moment.generator)
        far = losses.swapped_negatives(distances, negatives)
        return losses.triplet_margin(distances.diagonal(), far, margin=self.margin)

    def candidates(self, done: float, count: int) -> int:
        """Number of candidates when a share ``done`` is over and there are ``count`` other pairs."""
        grown = min(1.0, done / self.ramp) if self.ramp else 1.0
        return min(count, round(self.hardest**grown))


@dataclass(frozen=True)
class HardestInBatch:
    """HardNet's triplet margin on the hardest negative of the batch (NIPS 2017).

    Attributes:
        margin: of the hinge; the paper has 1.
    """

    margin: float = 1.0

    def __call__(self, network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
        """Mean hinge over one triplet a pair."""
        distances = _pair_distances(network, patches, moment)
        return losses.triplet_margin(distances.diagonal(), losses.hardest_distance(distances), margin=self.margin)


def _pair_distances(network: nn.Module, patches: Tensor, moment: Moment) -> Tensor:
    """L2 distances (N,N) between the first sides of the pairs and the second."""
    count = len(patches) // 2
    with moment.autocast():
        described = network(patches)
    return losses.distance_matrix(described[:count], described[count:])
