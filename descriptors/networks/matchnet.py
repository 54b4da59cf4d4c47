"""MatchNet: Han et al., MatchNet: Unifying feature and metric learning for patch-based matching, CVPR 2015."""

from __future__ import annotations

from torch import nn

from descriptors.networks.pairs import LogOdds, PairNetwork, Scale, initialise

_BOTTLENECK = 512
_HIDDEN = 512


def _pool() -> nn.Module:
    # Caffe rounds the size of a pooled map up: 64, 32, 16, 8.
    return nn.MaxPool2d(3, 2, ceil_mode=True)


class MatchNet(PairNetwork):
    """Five convolutions and a bottleneck give 512 features, three full layers score a pair: 3,119,602 parameters.

    Chosen where the paper leaves a choice: the bottleneck of 512 of its ablation (a first full layer on 4,096 numbers a
    patch would alone have 8 million parameters), 512 units in the metric network (one of its sizes), and no rectifier
    on the bottleneck, whose output is a descriptor. The score is the log-odds of the softmax, which orders pairs as the
    probability does and does not run out of digits where that nears 1. It is not symmetric: the metric network reads
    one patch first.
    """

    width = _BOTTLENECK

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Scale(128, 160),
            nn.Conv2d(1, 24, 7, padding=3), nn.ReLU(), _pool(),
            nn.Conv2d(24, 64, 5, padding=2), nn.ReLU(), _pool(),
            nn.Conv2d(64, 96, 3, padding=1), nn.ReLU(),
            nn.Conv2d(96, 96, 3, padding=1), nn.ReLU(),
            nn.Conv2d(96, 64, 3, padding=1), nn.ReLU(), _pool(),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, _BOTTLENECK),
        )  # fmt: skip
        self.score = LogOdds(
            nn.Linear(2 * _BOTTLENECK, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, 2),
        )  # fmt: skip
        initialise(self)
