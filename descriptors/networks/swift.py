"""Swift: recon's own network, made for the processors that people have; no paper.

A fifth of L2-Net's arithmetic: most of L2-Net's is spent at the full 32×32 resolution, which a stem with stride 2
leaves at once. Of eight shapes with 4 to 8 M multiply-adds that were timed, the larger of the two that halve the
resolution three times; 10,500 patches a second on two AVX2 cores, where L2-Net does 2,000.
"""

from __future__ import annotations

from torch import Tensor, nn

from descriptors.networks.normalize import standardize, unit_length

Layer = tuple[int, int, int]
"""Channels, kernel and stride of a convolution."""

_LAYERS: tuple[Layer, ...] = ((32, 5, 2), (64, 3, 2), (64, 3, 1), (128, 3, 2), (128, 3, 1))
_SMALL_LAYERS: tuple[Layer, ...] = ((24, 5, 2), (48, 3, 2), (48, 3, 1), (96, 3, 2), (96, 3, 1))


class Swift(nn.Module):
    """Five convolutions with batch norm and one over the 4×4 map that is left: 7.5 M multiply-adds a patch, 128-D."""

    patch_size = 32
    dim = 128

    def __init__(self, layers: tuple[Layer, ...] = _LAYERS) -> None:
        """Args: layers: convolutions before the last; their strides divide 32 down to 4."""
        super().__init__()
        trunk: list[nn.Module] = []
        before = 1
        for channels, kernel, stride in layers:
            trunk += [
                nn.Conv2d(before, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            ]
            before = channels
        self.trunk = nn.Sequential(*trunk)
        self.last = nn.Sequential(nn.Conv2d(before, self.dim, 4, bias=False), nn.BatchNorm2d(self.dim, affine=False))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,128) of unit length of patches (N,1,32,32) in 0..255."""
        return unit_length(self.last(self.trunk(standardize(patches))).flatten(1))


class SwiftSmall(Swift):
    """The same with three quarters of the channels: 4.3 M multiply-adds a patch."""

    def __init__(self) -> None:
        super().__init__(_SMALL_LAYERS)
