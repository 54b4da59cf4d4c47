"""DeepDesc: Simo-Serra et al., Discriminative learning of deep convolutional feature point descriptors, ICCV 2015."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from descriptors.networks.normalize import standardize, unit_length


class L2Pooling(nn.Module):
    """Length of the vector of the values in each window of side ``size``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W) to (N,C,H/size,W/size), rounded down."""
        mean = functional.avg_pool2d(maps.float().square(), self.size)
        return (self.size**2 * mean + 1e-8).sqrt()  # the small number keeps the gradient at 0 finite


class SubtractiveNormalization(nn.Module):
    """Subtracts from every map the mean of all maps around: a Gaussian of 5×5, σ 1.25 px, the weights over what exists.

    As Torch 7's SpatialSubtractiveNormalization, in which the authors wrote their network.
    """

    kernel: Tensor

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        across = torch.exp(-0.5 * ((torch.arange(size) - size // 2) / (0.25 * size)) ** 2)
        kernel = across[:, None] * across
        self.register_buffer("kernel", (kernel / kernel.sum())[None, None], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W)."""
        mean = maps.mean(dim=1, keepdim=True)
        half = self.kernel.shape[-1] // 2
        there = functional.conv2d(torch.ones_like(mean[:1]), self.kernel, padding=half)
        return maps - functional.conv2d(mean, self.kernel, padding=half) / there


class DeepDesc(nn.Module):
    """Three convolutions with tanh and L2 pooling: 280,320 parameters, 128-D.

    Maps are of 64, 29, 8 and 1 px after C(32,7) P(2), C(64,6) P(3), C(128,5) P(4). The paper's descriptors have any
    length; here they are scaled to unit length, as of all networks of the zoo. Each patch is standardised by itself,
    where the authors use the mean and deviation of their training set. Every filter sees all maps below.
    """

    patch_size = 64
    dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 7), nn.Tanh(), L2Pooling(2), SubtractiveNormalization(),
            nn.Conv2d(32, 64, 6), nn.Tanh(), L2Pooling(3), SubtractiveNormalization(),
            nn.Conv2d(64, self.dim, 5), nn.Tanh(), L2Pooling(4),
        )  # fmt: skip

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,128) of unit length of patches (N,1,64,64) in 0..255."""
        return unit_length(self.layers(standardize(patches)).flatten(1))
