"""Swift-stereo: recon's own network for matching every pixel of two rectified pictures on a processor.

It begins as a census transform (Zabih and Woodfill, Non-parametric local transforms for visual correspondence, ECCV
1994): every channel of the first layer compares a neighbour with the middle, and the tangent makes nearly a bit of
it, so that strong edges of what is in front count no more than the faint texture of the pixel's own surface. What
training may change is what is compared, how sharply, how much each comparison counts, and how they go together.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from descriptors.networks.normalize import standardize, unit_length

_CHANNELS, _SIDE = 64, 11
_ROWS, _COLUMNS = 3, 4
"""Half sides of the census window."""
_SHARP = 18.0
"""Of the first comparisons: a difference of a twentieth of the picture's deviation counts two thirds of a large one."""
_NEAR = 2.0
"""Deviation (px) of the Gaussian by which comparisons count at first."""
_LEVEL = 1.5
"""Of the channel that is the same everywhere: where there is no contrast it outweighs noise."""


class SwiftStereo(nn.Module):
    """64 comparisons over 11×11 pixels, weighed: 11,968 parameters, 11,840 multiply-adds for each pixel, 64-D."""

    patch_size = _SIDE
    dim = _CHANNELS

    def __init__(self) -> None:
        super().__init__()
        compare, weigh = nn.Conv2d(1, _CHANNELS, _SIDE), nn.Conv2d(_CHANNELS, _CHANNELS, 1)
        middle = _SIDE // 2
        with torch.no_grad():
            for values in (compare.weight, compare.bias, weigh.weight, weigh.bias):
                values.zero_()  # type: ignore[union-attr]
            for channel, (dy, dx) in enumerate(_neighbours()):
                compare.weight[channel, 0, middle + dy, middle + dx] = _SHARP
                compare.weight[channel, 0, middle, middle] = -_SHARP
                weigh.weight[channel, channel] = math.exp(-(dy * dy + dx * dx) / (4 * _NEAR**2))
            weigh.bias[-1] = _LEVEL  # type: ignore[index]
        self.layers = nn.Sequential(compare, nn.Tanh(), weigh)

    def dense(self, pictures: Tensor) -> Tensor:
        """Vectors (N,64,H-10,W-10) of standardised pictures (N,1,H,W)."""
        return unit_length(self.layers(pictures))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,64) of unit length of patches (N,1,11,11) in 0..255."""
        return self.dense(standardize(patches)).flatten(1)


def _neighbours() -> list[tuple[int, int]]:
    """Rows and columns from the middle of the census window's other pixels: 62, which leaves two channels free."""
    window = [(dy, dx) for dy in range(-_ROWS, _ROWS + 1) for dx in range(-_COLUMNS, _COLUMNS + 1)]
    return [place for place in window if place != (0, 0)]
