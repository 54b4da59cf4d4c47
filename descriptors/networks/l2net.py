"""L2-Net: Tian, Fan and Wu, L2-Net: Deep learning of discriminative patch descriptor in Euclidean space, CVPR 2017."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from descriptors.networks.normalize import FLOOR, standardize, unit_length
from descriptors.networks.rounded import RoundedNetwork

LAYERS = ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
"""Channels and stride of the 3×3 convolutions."""


class L2Net(nn.Module):
    """Seven convolutions without bias, each followed by batch norm without affine part: 1,334,560 parameters, 128-D."""

    patch_size = 32
    dim = 128
    floor = FLOOR

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for channels, stride in LAYERS:
            layers += [
                nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(channels, affine=False),
                nn.ReLU(),
            ]
            before = channels
        self.first = nn.Sequential(*layers[:2])
        self.trunk = nn.Sequential(*layers[2:])
        self.last = nn.Sequential(nn.Conv2d(before, self.dim, 8, bias=False), nn.BatchNorm2d(self.dim, affine=False))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight, gain=0.7)

    def standardized(self, patches: Tensor) -> Tensor:
        """What the first convolution sees of patches (N,1,32,32)."""
        return standardize(patches, floor=self.floor)

    def feature_maps(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the first (N,32,32,32) and of the last (N,128,1,1) batch norm, on which E3 is taken."""
        first = self.first(self.standardized(patches))
        return first, self.last(self.trunk(first))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,128) of unit length of patches (N,1,32,32) in 0..255."""
        return unit_length(self.feature_maps(patches)[1].flatten(1))

    def deployed(self) -> RoundedNetwork:
        """The evaluated network in bytes."""
        return RoundedNetwork([*self.first, *self.trunk], list(self.last), self.patch_size, floor=self.floor)


class CentralSurroundL2Net(nn.Module):
    """Two L2-Nets, one for the whole patch halved to 32 px and one for its central 32 px: 2,669,120 parameters, 256-D.

    The outputs of both are put one after the other and scaled to unit length together; the paper does not say whether
    each is scaled before.
    """

    patch_size = 64
    dim = 256

    def __init__(self) -> None:
        super().__init__()
        self.surround, self.centre = L2Net(), L2Net()
        self.halve = nn.AvgPool2d(2)

    def feature_maps(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Output of the first (N,64,32,32) and of the last (N,256,1,1) batch norms of both, along the channels."""
        whole = self.surround.feature_maps(self.halve(patches))
        inner = self.centre.feature_maps(patches[:, :, 16:48, 16:48])
        return torch.cat([whole[0], inner[0]], dim=1), torch.cat([whole[1], inner[1]], dim=1)

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,256) of unit length of patches (N,1,64,64) in 0..255."""
        return unit_length(self.feature_maps(patches)[1].flatten(1))

    def deployed(self) -> RoundedCentralSurround:
        """The evaluated network in bytes."""
        return RoundedCentralSurround(self)


class RoundedCentralSurround(nn.Module):
    """The same in bytes."""

    def __init__(self, network: CentralSurroundL2Net) -> None:
        super().__init__()
        self._surround, self._centre = network.surround.deployed(), network.centre.deployed()
        self._halve = network.halve

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,256) of unit length of patches (N,1,64,64) in 0..255."""
        whole, inner = self._halve(patches), patches[:, :, 16:48, 16:48]
        return unit_length(torch.cat([self._surround.raw(whole), self._centre.raw(inner)], dim=1))
