"""Kumar, Carneiro and Reid, Learning local image descriptors with deep siamese and triplet networks, CVPR 2016.

DeepCompare's layers with a batch norm after each: B(n,k,s) is a convolution of n filters of k px, batch norm and
rectifier, P(2) a max pooling. Patches of 64 px; where the authors subtract the mean picture of their training set,
each patch is standardised by itself, as in all networks here.

What the paper calls siamese reads both patches as two channels: the authors' own program stacks them so for the
central-surround network, which joins its two streams as maps. So SNet and CS SNet have no feature of one patch.
"""

from __future__ import annotations

from torch import Tensor, nn

from descriptors.networks.normalize import unit_length
from descriptors.networks.pairs import Bytes, CentralSurround, PairNetwork, Standardize, TwoChannel


def _block(before: int, channels: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(before, channels, size, stride=stride, bias=False),  # batch norm has the bias
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    ]


def _trunk(channels: int) -> list[nn.Module]:
    """B(96,7,3) P(2) B(192,5) P(2) B(256,3) B(256,1): maps of 20, 10, 6, 3, 1 and 1 px."""
    return [
        *_block(channels, 96, 7, 3), nn.MaxPool2d(2),
        *_block(96, 192, 5), nn.MaxPool2d(2),
        *_block(192, 256, 3),
        *_block(256, 256, 1),
    ]  # fmt: skip


def _stream() -> nn.Module:
    """B(96,5) P(2) B(96,3) P(2) B(192,3) B(192,3): maps of 28, 14, 12, 6, 4 and 2 px."""
    return nn.Sequential(
        *_block(2, 96, 5), nn.MaxPool2d(2),
        *_block(96, 96, 3), nn.MaxPool2d(2),
        *_block(96, 192, 3),
        *_block(192, 192, 3),
    )  # fmt: skip


class TNet(nn.Module):
    """Triplet embedding, compared by L2: the trunk and C(256,1), 1,040,800 parameters, 256-D."""

    patch_size = 64
    dim = 256

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(Standardize(), *_trunk(1), nn.Conv2d(256, self.dim, 1), nn.Flatten())

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,256) of unit length of patches (N,1,64,64) in 0..255."""
        return unit_length(self.layers(patches))


class SNet(PairNetwork):
    """Similarity of two patches as channels of one picture: the trunk and C(1,1), 979,969 parameters."""

    width = 64 * 64

    def __init__(self) -> None:
        super().__init__()
        self.features = Bytes()
        self.score = TwoChannel(Standardize(), *_trunk(2), nn.Conv2d(256, 1, 1), nn.Flatten())


class CSSNet(PairNetwork):
    """Central-surround SNet: two streams, joined as maps, B(768,2) and C(1,1): 2,355,073 parameters."""

    width = 64 * 64

    def __init__(self) -> None:
        super().__init__()
        self.features = Bytes()
        streams = CentralSurround(_stream(), _stream())
        self.score = TwoChannel(Standardize(), streams, *_block(2 * 192, 768, 2), nn.Conv2d(768, 1, 1), nn.Flatten())
