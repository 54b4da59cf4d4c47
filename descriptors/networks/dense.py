"""A network of patches turned into one that describes every pixel of a picture, the work of neighbours shared.

Strides become dilations of all layers that follow (Long et al., Fully convolutional networks, CVPR 2015), so that the
network is evaluated at every pixel without its patch ever being cut. Each layer then sees real pixels where the patch
network sees the zeros around its patch, hence vectors are close to, not equal to, those of patches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from torch import Tensor, nn

from descriptors.contract import DescriptorError
from descriptors.networks.normalize import unit_length
from descriptors.networks.swift import Residual

_PLAIN = (nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Dropout, nn.Identity)


class FullyConvolutional(nn.Module):
    """Standardised pictures (1,1,H,W) in, unit vectors (1,C,H/z,W/z) out.

    Attributes:
        reach: pixels of the input that a vector sees to each side, at most.
    """

    def __init__(self, network: nn.Module, zoom: int) -> None:
        """Args:
            network: of patches, evaluated: convolutions, batch norms, ReLU or tanh, max pooling, a linear layer.
            zoom: pixels of the input for each vector of the output, along either side.

        Raises:
            DescriptorError: a layer that has no fully convolutional form.
        """
        super().__init__()
        made: list[nn.Module] = []
        corner = 0.0  # of the patch that an output at 0 describes, px of the input
        size, dilation, strode, reach = int(network.patch_size), 1, 1, 0  # type: ignore[arg-type]
        for leaf in _leaves(network):
            if isinstance(leaf, nn.Linear):
                leaf = _as_convolution(leaf, size)
            if isinstance(leaf, nn.Conv2d):
                kernel, stride, pad = leaf.kernel_size[0], leaf.stride[0], int(leaf.padding[0])
                spread = dilation * int(leaf.dilation[0])
                corner += strode * (dilation * pad - spread * (kernel - 1) // 2)
                size = (size + 2 * pad - int(leaf.dilation[0]) * (kernel - 1) - 1) // stride + 1
                kept = stride if strode * stride <= zoom else 1
                made += _spread(copy.deepcopy(leaf), spread, kept)
                reach += strode * spread * (kernel - 1)
                strode, dilation = strode * kept, dilation * (stride // kept)
            elif isinstance(leaf, Residual):
                twin = copy.deepcopy(leaf)
                added = twin.added[0]
                assert isinstance(added, nn.Conv2d)
                added.dilation = added.padding = (dilation, dilation)
                made.append(twin)
                reach += strode * dilation * 2
            elif isinstance(leaf, nn.MaxPool2d):
                kernel = stride = int(leaf.kernel_size)  # type: ignore[arg-type]
                size //= stride
                kept = stride if strode * stride <= zoom else 1
                before = (kernel - 1) * dilation // 2 if kept == 1 else 0
                corner -= strode * before
                made.append(nn.ZeroPad2d(_around((kernel - 1) * dilation) if kept == 1 else (0, 0, 0, 0)))
                made.append(nn.MaxPool2d(kernel, stride=kept, dilation=dilation))
                reach += strode * dilation * (kernel - 1)
                strode, dilation = strode * kept, dilation * (stride // kept)
            elif isinstance(leaf, _PLAIN):
                made.append(copy.deepcopy(leaf))
            else:
                raise DescriptorError(f"A layer {type(leaf).__name__} cannot be evaluated at every pixel at once.")
        if size != 1 or strode != zoom:
            raise DescriptorError(f"The network does not end in one vector a patch at a zoom of {zoom}.")
        # An output describes the patch around its own place: strides and even kernels have moved it.
        middle = (int(network.patch_size) - 1) / 2  # type: ignore[arg-type]
        aside = round(corner + middle - (zoom - 1) / 2 - 0.01)
        self.layers = nn.Sequential(nn.ZeroPad2d((aside, -aside, aside, -aside)), *made)
        self.reach = reach // 2 + 1 + abs(aside)

    def forward(self, picture: Tensor) -> Tensor:
        """Vectors (1,C,H/z,W/z) of a picture (1,1,H,W); H and W are multiples of z."""
        return unit_length(self.layers(picture))


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Its layers in their order; one that adds to what it is given stays whole."""
    parts = list(module.children())
    if isinstance(module, Residual) or not parts:
        yield module
    else:
        for part in parts:
            yield from _leaves(part)


def _around(total: int) -> tuple[int, int, int, int]:
    """Padding left, right, above, below that keeps the size."""
    return total // 2, total - total // 2, total // 2, total - total // 2


def _spread(layer: nn.Conv2d, dilation: int, stride: int) -> list[nn.Module]:
    total = (layer.kernel_size[0] - 1) * dilation
    layer.dilation, layer.stride = (dilation, dilation), (stride, stride)
    if total % 2:
        layer.padding = (0, 0)
        return [nn.ZeroPad2d(_around(total)), layer]
    layer.padding = (total // 2, total // 2)
    return [layer]


def _as_convolution(layer: nn.Linear, size: int) -> nn.Conv2d:
    channels = layer.in_features // size**2
    made = nn.Conv2d(channels, layer.out_features, size, bias=layer.bias is not None)
    made.weight.data = layer.weight.data.view(layer.out_features, channels, size, size)
    if layer.bias is not None and made.bias is not None:
        made.bias.data = layer.bias.data
    return made
