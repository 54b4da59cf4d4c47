"""Swift-stereo: recon's own network for matching every pixel of two rectified pictures on a processor.

It begins as a census transform (Zabih and Woodfill, Non-parametric local transforms for visual correspondence, ECCV
1994) with adaptive support (Yoon and Kweon, Adaptive support-weight approach for correspondence search, PAMI 2006).
Every channel of the first layer compares a neighbour with the middle; the tangent makes nearly a bit of it, so that
strong edges count no more than faint texture. Each comparison is made twice, sharply and slowly, and the next layer
takes the slow one off: what differs much from the middle, as what lies across an edge does, hardly counts at all.
Training changes how sharply each neighbour is compared, how much it counts, and how fast it fades.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from descriptors.networks.normalize import standardize, unit_length

_COMPARED, _CHANNELS, _SIDE = 124, 64, 11
_ROWS, _COLUMNS = 3, 4
"""Half sides of the census window."""
_SHARP, _SLOW = 30.0, 3.0
"""Of the comparisons, for a picture of deviation 1: the sharp ones tell a sign from noise, the slow ones the size."""
_FADE = 0.9
"""Share of the slow comparison that is taken off the sharp one."""
_NEAR = 2.5
"""Deviation (px) of the Gaussian by which comparisons count at first."""
_LEVEL = 0.05
"""Of the channel that is the same everywhere: without any contrast it alone is left."""


class SwiftStereo(nn.Module):
    """124 comparisons over 11×11 pixels, weighed: 23,128 parameters, 22,940 multiply-adds for each pixel, 64-D."""

    patch_size = _SIDE
    dim = _CHANNELS

    def __init__(self) -> None:
        super().__init__()
        compare, weigh = nn.Conv2d(1, _COMPARED, _SIDE), nn.Conv2d(_COMPARED, _CHANNELS, 1)
        middle, places = _SIDE // 2, _neighbours()
        with torch.no_grad():
            for values in (compare.weight, compare.bias, weigh.weight, weigh.bias):
                values.zero_()  # type: ignore[union-attr]
            for number, (dy, dx) in enumerate(places):
                near = math.exp(-(dy * dy + dx * dx) / (4 * _NEAR**2))
                for channel, sharp, weight in ((number, _SHARP, near), (number + len(places), _SLOW, -_FADE * near)):
                    compare.weight[channel, 0, middle + dy, middle + dx] = sharp
                    compare.weight[channel, 0, middle, middle] = -sharp
                    weigh.weight[number, channel] = weight
            weigh.bias[-1] = _LEVEL  # type: ignore[index]
        self.layers = nn.Sequential(compare, nn.Tanh(), weigh)

    def dense(self, pictures: Tensor) -> Tensor:
        """Vectors (N,64,H-10,W-10) of standardised pictures (N,1,H,W)."""
        return unit_length(self.layers(pictures))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,64) of unit length of patches (N,1,11,11) in 0..255."""
        return self.dense(standardize(patches)).flatten(1)


def _neighbours() -> list[tuple[int, int]]:
    """Rows and columns from the middle of the census window's other pixels: 62, two fewer than channels."""
    window = [(dy, dx) for dy in range(-_ROWS, _ROWS + 1) for dx in range(-_COLUMNS, _COLUMNS + 1)]
    return [place for place in window if place != (0, 0)]
