"""Swift: recon's own network, made for the processors that people have; no paper.

A fifth of L2-Net's arithmetic: most of L2-Net's is spent at the full 32×32 resolution, which a stem with stride 2
leaves at once. Of eight shapes with 4 to 8 M multiply-adds that were timed, the larger of the two that halve the
resolution three times; in floats 10,500 patches a second on two AVX2 cores, where L2-Net does 2,000. It is trained in
floats and describes in bytes, nearly three times as fast on two AMX cores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from descriptors.networks.normalize import FLOOR, standardize, unit_length
from descriptors.networks.rounded import RoundedNetwork

Layer = tuple[int, int, int]
"""Channels, kernel and stride of a convolution."""

_LAYERS: tuple[Layer, ...] = ((32, 5, 2), (64, 3, 2), (64, 3, 1), (128, 3, 2), (128, 3, 1))
_LARGE_MORE = (0, 0, 1, 0, 2)
"""Residual convolutions after each of these layers."""
_SMALL_LAYERS: tuple[Layer, ...] = ((24, 5, 2), (48, 3, 2), (48, 3, 1), (96, 3, 2), (96, 3, 1))


class Residual(nn.Module):
    """A 3×3 convolution with batch norm whose result is added to what it is given (He et al., CVPR 2016).

    It begins as nothing: the scale of the norm is 0.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.added = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm)

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W) ≥ 0 to the same."""
        return torch.relu(maps + self.added(maps))


class Swift(nn.Module):
    """Five convolutions with batch norm and one over the 4×4 map that is left: 7.5 M multiply-adds a patch, 128-D."""

    patch_size = 32
    dim = 128

    def __init__(self, layers: tuple[Layer, ...] = _LAYERS, more: tuple[int, ...] = (0,) * len(_LAYERS)) -> None:
        """Make it.

        Args:
            layers: convolutions before the last; their strides divide 32 down to 4.
            more: residual convolutions after each of them.
        """
        super().__init__()
        trunk: list[nn.Module] = []
        before = 1
        for (channels, kernel, stride), extra in zip(layers, more, strict=True):
            trunk += [
                nn.Conv2d(before, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                *(Residual(channels) for _ in range(extra)),
            ]
            before = channels
        self.trunk = nn.Sequential(*trunk)
        self.last = nn.Sequential(nn.Conv2d(before, self.dim, 4, bias=False), nn.BatchNorm2d(self.dim, affine=False))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,128) of unit length of patches (N,1,32,32) in 0..255."""
        return unit_length(self.last(self.trunk(standardize(patches))).flatten(1))

    def deployed(self) -> RoundedNetwork:
        """The evaluated network in bytes."""
        return RoundedNetwork(list(self.trunk), list(self.last), self.patch_size, floor=FLOOR)


class SwiftSmall(Swift):
    """The same with three quarters of the channels: 4.3 M multiply-adds a patch."""

    def __init__(self) -> None:
        super().__init__(_SMALL_LAYERS)


class SwiftLarge(Swift):
    """Swift with three residual convolutions more: 14.6 M multiply-adds a patch, 0.56 of Swift's speed.

    Of five numbers of such layers that were timed in floats, the one with 11,600 patches a second on two AVX-512 cores;
    one more brought it under 9,500.
    """

    adopts = Swift

    def __init__(self) -> None:
        super().__init__(_LAYERS, _LARGE_MORE)

    def adopt(self, other: Swift) -> None:
        """Take the weights of Swift and compute the same: a training from here is shorter."""
        own = [module for module in self.trunk if not isinstance(module, Residual)]
        for mine, theirs in zip(own, other.trunk, strict=True):
            mine.load_state_dict(theirs.state_dict())
        self.last.load_state_dict(other.last.state_dict())
