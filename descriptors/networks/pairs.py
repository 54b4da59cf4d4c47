"""Parts of the metric networks: each has a module ``features``, run once a patch, and ``score``, run on pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from descriptors.networks.normalize import standardize

_SIZE = 64


class PairNetwork(nn.Module):
    """A metric network.

    Attributes:
        patch_size: px.
        width: numbers that ``features`` gives of a patch.
        features, score: its two modules.
    """

    patch_size = _SIZE
    width: int
    features: nn.Module
    score: nn.Module

    def forward(self, patches: Tensor) -> Tensor:
        """Scores (N,) of the pairs of patches (2N,1,64,64) in 0..255, rows i and N + i a pair."""
        count = len(patches) // 2
        features = self.features(patches)
        return self.score(features[:count], features[count:])


def initialise(network: nn.Module) -> None:
    """Start of a network without batch norm: He's for rectified layers, and metric networks that see differences.

    With He's start alone, a metric network on concatenated features stays for thousands of steps at one score for all.
    With weights of the second patch that are those of the first, negated, its first layer begins as a function of the
    difference of the features, and is free to become another.
    """
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Concatenated):
            first = module.layers[0]
            assert isinstance(first, nn.Linear)
            half = first.in_features // 2
            with torch.no_grad():
                first.weight[:, half:] = -first.weight[:, :half]


class Scale(nn.Module):
    """(x − offset) / scale."""

    def __init__(self, offset: float, scale: float) -> None:
        super().__init__()
        self.offset, self.scale = offset, scale

    def forward(self, patches: Tensor) -> Tensor:
        """Any shape."""
        return (patches - self.offset) / self.scale


class Centre(nn.Module):
    """Each channel of each patch without its mean, divided by 256."""

    def forward(self, patches: Tensor) -> Tensor:
        """(N,C,S,S)."""
        return (patches - patches.mean(dim=(2, 3), keepdim=True)) / 256


class Standardize(nn.Module):
    """Each channel of each patch with mean 0 and standard deviation 1."""

    def forward(self, patches: Tensor) -> Tensor:
        """(N,C,S,S)."""
        size = patches.shape[-1]
        return standardize(patches.reshape(-1, 1, size, size)).reshape(patches.shape)


class CentralSurround(nn.Module):
    """Two streams on patches of 64 px: the central 32 px, and all of it halved to 32 px. Joined along the channels."""

    def __init__(self, centre: nn.Module, surround: nn.Module) -> None:
        super().__init__()
        self.centre, self.surround = centre, surround
        self.halve = nn.AvgPool2d(2)

    def forward(self, patches: Tensor) -> Tensor:
        """(N,C,64,64)."""
        return torch.cat([self.centre(patches[:, :, 16:48, 16:48]), self.surround(self.halve(patches))], dim=1)


class Bytes(nn.Module):
    """The features of a network that sees pairs only: the patch itself, flat."""

    def forward(self, patches: Tensor) -> Tensor:
        """(N,1,S,S) to (N,S·S)."""
        return patches.flatten(1)


class Concatenated(nn.Module):
    """Metric network on the features of both patches, one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (K,) of features (K,F) and (K,F)."""
        return self.layers(torch.cat([first, second], dim=1))[:, 0]


class LogOdds(Concatenated):
    """As above, with two outputs, for no match and for match: the score is the logarithm of the odds of a match."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (K,) of features (K,F) and (K,F)."""
        votes = self.layers(torch.cat([first, second], dim=1))
        return votes[:, 1] - votes[:, 0]


class TwoChannel(nn.Module):
    """Network on two patches as the two channels of one picture."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Scores (K,) of flat patches (K,S·S) and (K,S·S) in 0..255."""
        pair = torch.stack([first, second], dim=1).reshape(-1, 2, _SIZE, _SIZE)
        return self.layers(pair)[:, 0]
