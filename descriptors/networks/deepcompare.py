"""DeepCompare: Zagoruyko and Komodakis, Learning to compare image patches via convolutional networks, CVPR 2015.

All take patches of 64 px, each without its own mean and divided by 256, as the authors' programs do, and are rectified
after every layer but the last of a feature extractor with two streams and the output. Scores are not symmetric.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from descriptors.networks.pairs import Bytes, CentralSurround, Centre, Concatenated, PairNetwork, TwoChannel, initialise


def _trunk(channels: int) -> list[nn.Module]:
    """C(96,7,3) P(2) C(192,5) P(2) C(256,3): maps of 20, 10, 6, 3 and 1 px."""
    return [
        Centre(),
        nn.Conv2d(channels, 96, 7, stride=3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(96, 192, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(192, 256, 3), nn.ReLU(),
        nn.Flatten(),
    ]  # fmt: skip


def _siamese_stream() -> nn.Module:
    """C(96,4,2) P(2) C(192,3) C(256,3) C(256,3): maps of 15, 7, 5, 3 and 1 px."""
    return nn.Sequential(
        nn.Conv2d(1, 96, 4, stride=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(96, 192, 3), nn.ReLU(),
        nn.Conv2d(192, 256, 3), nn.ReLU(),
        nn.Conv2d(256, 256, 3),
        nn.Flatten(),
    )  # fmt: skip


def _two_channel_stream() -> nn.Module:
    """C(96,5) P(2) C(96,3) P(2) C(192,3) C(192,3): maps of 28, 14, 12, 6, 4 and 2 px."""
    return nn.Sequential(
        nn.Conv2d(2, 96, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(96, 96, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(96, 192, 3), nn.ReLU(),
        nn.Conv2d(192, 192, 3), nn.ReLU(),
        nn.Flatten(),
    )  # fmt: skip


def _decision(inputs: int, hidden: int) -> list[nn.Module]:
    return [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1)]


class Siam(PairNetwork):
    """One trunk for both patches, FC 512, FC 1: 908,416 + 263,169 parameters, 3.47 and 1.00 MiB in float32."""

    width = 256

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*_trunk(1))
        self.score = Concatenated(*_decision(2 * 256, 512))
        initialise(self)


class _Branches(nn.Module):
    """Features of a patch as the first of a pair and as the second, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Sequential(*_trunk(1)), nn.Sequential(*_trunk(1))

    def forward(self, patches: Tensor) -> Tensor:
        return torch.cat([self.first(patches), self.second(patches)], dim=1)


class _BranchScore(Concatenated):
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (K,): of ``first`` (K,512) the first branch is read, of ``second`` the second."""
        return super().forward(first[:, :256], second[:, 256:])


class PseudoSiam(PairNetwork):
    """As :class:`Siam` with a trunk of its own for each of the two patches: 1,816,832 + 263,169 parameters."""

    width = 512

    def __init__(self) -> None:
        super().__init__()
        self.features = _Branches()
        self.score = _BranchScore(*_decision(2 * 256, 512))
        initialise(self)
        self.features.second.load_state_dict(self.features.first.state_dict())  # they begin alike


class Siam2Stream(PairNetwork):
    """Central-surround siamese network: 2,400,832 + 1,050,625 parameters, 9.16 and 4.01 MiB in float32.

    The features at unit length are the paper's siam-2stream-l2. The decision has FC 1024, FC 1: the size of the
    authors' file tells so.
    """

    width = 512

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(Centre(), CentralSurround(_siamese_stream(), _siamese_stream()))
        self.score = Concatenated(*_decision(2 * 512, 1024))
        initialise(self)


class TwoCh(PairNetwork):
    """Both patches as channels of one picture, FC 256, FC 1: 979,169 parameters, all of them in the score."""

    width = 64 * 64

    def __init__(self) -> None:
        super().__init__()
        self.features = Bytes()
        self.score = TwoChannel(*_trunk(2), *_decision(256, 256))
        initialise(self)


class TwoCh2Stream(PairNetwork):
    """Two channels, and central-surround: 2,353,153 parameters, all of them in the score. FC 768, FC 1."""

    width = 64 * 64

    def __init__(self) -> None:
        super().__init__()
        self.features = Bytes()
        streams = CentralSurround(_two_channel_stream(), _two_channel_stream())
        self.score = TwoChannel(Centre(), streams, *_decision(2 * 768, 768))
        initialise(self)
