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
        patch_size = int(network.patch_size)  # type: ignore[arg-type]
        found = _Unrolled(patch_size, zoom)
        for leaf in _leaves(network):
            if isinstance(leaf, nn.Linear):
                leaf = _as_convolution(leaf, found.size)
            if isinstance(leaf, nn.Conv2d):
                found.convolution(copy.deepcopy(leaf))
            elif isinstance(leaf, Residual):
                found.residual(copy.deepcopy(leaf))
            elif isinstance(leaf, nn.MaxPool2d):
                found.pooling(int(leaf.kernel_size))  # type: ignore[arg-type]
            elif isinstance(leaf, _PLAIN):
                found.layers.append(copy.deepcopy(leaf))
            else:
                raise DescriptorError(f"A layer {type(leaf).__name__} cannot be evaluated at every pixel at once.")
        if found.size != 1 or found.strode != zoom:
            raise DescriptorError(f"The network does not end in one vector a patch at a zoom of {zoom}.")
        # An output describes the patch around its own place: strides and even kernels have moved it.
        aside = round(found.corner + (patch_size - 1) / 2 - (zoom - 1) / 2 - 0.01)
        self.layers = nn.Sequential(nn.ZeroPad2d((aside, -aside, aside, -aside)), *found.layers)
        self.reach = found.reach // 2 + 1 + abs(aside)

    def forward(self, picture: Tensor) -> Tensor:
        """Vectors (1,C,H/z,W/z) of a picture (1,1,H,W); H and W are multiples of z."""
        return unit_length(self.layers(picture))


class _Unrolled:
    """The layers so far, and where their outputs stand.

    Attributes:
        size: of the maps that the network would have of a patch alone.
        strode: pixels of the input from one output to the next.
        dilation: outputs from one to what would be the next in the maps of a patch alone.
        reach: pixels of the input that an output sees, less one.
        corner: of the patch that the output at 0 describes, px of the input.
    """

    def __init__(self, patch_size: int, zoom: int) -> None:
        self.layers: list[nn.Module] = []
        self.size, self.strode, self.dilation, self.reach, self.corner = patch_size, 1, 1, 0, 0.0
        self._zoom = zoom

    def convolution(self, layer: nn.Conv2d) -> None:
        """Take a convolution, which may be changed."""
        kernel, stride, pad, own = layer.kernel_size[0], layer.stride[0], int(layer.padding[0]), int(layer.dilation[0])
        spread = self.dilation * own
        self.corner += self.strode * (self.dilation * pad - spread * (kernel - 1) // 2)
        self.size = (self.size + 2 * pad - own * (kernel - 1) - 1) // stride + 1
        self.reach += self.strode * spread * (kernel - 1)
        self.layers += _spread(layer, spread, self._kept(stride))

    def residual(self, layer: Residual) -> None:
        """Take a residual convolution, which may be changed."""
        added = layer.added[0]
        assert isinstance(added, nn.Conv2d)
        added.dilation = added.padding = (self.dilation, self.dilation)
        self.layers.append(layer)
        self.reach += self.strode * self.dilation * 2

    def pooling(self, kernel: int) -> None:
        """Take a max pooling whose stride is its kernel."""
        strode, dilation = self.strode, self.dilation
        self.size //= kernel
        self.reach += strode * dilation * (kernel - 1)
        kept = self._kept(kernel)
        around = _around((kernel - 1) * dilation) if kept == 1 else (0, 0, 0, 0)
        self.corner -= strode * around[0]
        self.layers += [nn.ZeroPad2d(around), nn.MaxPool2d(kernel, stride=kept, dilation=dilation)]

    def _kept(self, stride: int) -> int:
        """What of a stride stays one: where outputs would be rarer than asked for, what follows is dilated instead."""
        kept = stride if self.strode * stride <= self._zoom else 1
        self.strode, self.dilation = self.strode * kept, self.dilation * (stride // kept)
        return kept


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
