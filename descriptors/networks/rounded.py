"""Layers whose numbers are bytes: what processors multiply several times as fast as floats.

Weights and maps are rounded to multiples of short numbers (Jacob et al., *Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference*, CVPR 2018) that reach as far as the batch norms say that numbers do,
so that no picture need be seen for it (Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias
Correction*, ICCV 2019). Sums of such products are exact in floats too, in whatever order they are taken, as long as
they stay below 2^24 of their unit: in Swift-large even those of absolute values reach an eighth of it. So torch, which
computes in floats what stands here, and onnxruntime, which makes integers of it, say the same, on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from descriptors.networks.normalize import standardize_exactly, unit_length

_LARGEST = 63
"""Of a weight, in steps: without VNNI processors add two products in 16 bits, which 255 x 63 x 2 just fits."""
_DEVIATIONS = 4.0
"""Of a batch-normalised number that are kept; what reaches farther is cut off."""
_STEP = 1.25 / 32
"""Of a standardised pixel, which reaches to 4.96 deviations. Of four steps from 1/32 to 2/32, tried on the validation
scenes, the larger ones match worse; the smaller one cuts more off patches with a bright spot."""
_LEAST = 1e-9
"""Of what a grid holds: a layer may have learned nothing yet."""


class Grid(nn.Module):
    """Rounds to the nearest of 256 multiples of a step, of two as near to the even one.

    Attributes:
        step: a number of few bits.
        largest: the largest multiple; what is larger becomes this.
    """

    def __init__(self, step: float, *, signed: bool = False) -> None:
        """``signed``: from -128 to 127 steps; otherwise from 0 to 255."""
        super().__init__()
        self._zero = 128 if signed else 0
        self.step = step
        self.largest = step * (255 - self._zero)

    @classmethod
    def up_to(cls, largest: float, *, signed: bool = False) -> Grid:
        """The grid whose step is the smallest power of two with which it holds ``largest``."""
        step = max(largest, _LEAST) / (127 if signed else 255)
        return cls(2.0 ** math.ceil(math.log2(step)), signed=signed)

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape, rounded."""
        return torch.fake_quantize_per_tensor_affine(values, self.step, self._zero, 0, 255)


class _Weights(nn.Module):
    """Weights of at most 63 steps, each output's of its own length; biases in steps of the products."""

    weight: Tensor
    bias: Tensor
    _steps: Tensor
    _zeros: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, before: Grid, *, axis: int = 0) -> None:
        """``before`` is the grid of what is multiplied, ``axis`` that of the outputs."""
        super().__init__()
        self._axis = axis
        largest = weight.abs().amax([other for other in range(weight.ndim) if other != axis])
        steps = _three_bits(largest.clamp_min(_LEAST) / _LARGEST)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", torch.round(bias / (before.step * steps)) * (before.step * steps))
        self.register_buffer("_steps", steps)
        self.register_buffer("_zeros", torch.zeros(len(steps), dtype=torch.int32))

    def rounded(self) -> Tensor:
        """The weights as they are multiplied."""
        return torch.fake_quantize_per_channel_affine(self.weight, self._steps, self._zeros, self._axis, -128, 127)


class RoundedConvolution(_Weights):
    """A convolution and its batch norm, with ReLU unless its numbers have a sign.

    Attributes:
        after: grid of its maps.
    """

    def __init__(self, layers: Sequence[nn.Module], before: Grid, *, signed: bool = False) -> None:
        """``layers``: convolution and batch norm; ``before`` is the grid of the maps that it is given."""
        layer, norm = _pair(layers)
        super().__init__(*_folded(layer, norm), before)
        self._stride, self._padding = layer.stride, layer.padding
        self.after = _grid_after(norm, signed=signed)
        self._bent = nn.Identity() if signed else nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W) on the one grid to (N,C',H',W') on the other."""
        sums = functional.conv2d(maps, self.rounded(), self.bias, self._stride, self._padding)
        return self.after(self._bent(sums))


class RoundedResidual(nn.Module):
    """ReLU of what it is given and a convolution of that.

    Attributes:
        after: grid of its maps.
    """

    def __init__(self, layers: Sequence[nn.Module], before: Grid) -> None:
        """``layers``: convolution and batch norm; ``before`` is the grid of the maps that it is given."""
        super().__init__()
        self.added = RoundedConvolution(layers, before, signed=True)
        self.after = Grid.up_to(max(before.largest, self.added.after.largest))

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W) on the one grid to the same on the other."""
        return self.after(torch.relu(maps + self.added(maps)))


class RowsConvolution(_Weights):
    """A convolution with ReLU of pictures with one channel, each row of pixels taken as one vector.

    Most of the weights are zeros then, and still it is the quicker way: the pixels under a kernel lie in five pieces of
    memory, not in twenty-five, and to gather bytes costs more than to multiply them.

    Attributes:
        after: grid of its maps.
    """

    def __init__(self, layers: Sequence[nn.Module], before: Grid, *, width: int) -> None:
        """``before`` is the grid of the square pictures, ``width`` theirs, a multiple of the stride."""
        layer, norm = _pair(layers)
        weight, bias = _folded(layer, norm)
        (channels, _, rows, taps), stride, pad = weight.shape, int(layer.stride[0]), int(layer.padding[0])
        columns = width // stride
        spread = weight.new_zeros(columns, channels, width, rows, 1)
        for column in range(columns):
            for tap in range(taps):
                seen = stride * column + tap - pad
                if 0 <= seen < width:
                    spread[column, :, seen, :, 0] = weight[:, 0, :, tap]
        super().__init__(spread.flatten(0, 1), bias.repeat(columns), before)
        self._stride, self._padding, self._shape = (stride, 1), (pad, 0), (columns, columns, channels)
        self.after = _grid_after(norm)

    def forward(self, pictures: Tensor) -> Tensor:
        """(N,1,H,W) on the one grid to (N,C,H',W') on the other."""
        rows = pictures.permute(0, 3, 2, 1)
        maps = self.after(torch.relu(functional.conv2d(rows, self.rounded(), self.bias, self._stride, self._padding)))
        return maps.permute(0, 2, 3, 1).reshape(-1, *self._shape).permute(0, 3, 1, 2)


class RoundedVectors(_Weights):
    """A convolution as large as the maps that it is given, as a product of matrices."""

    def __init__(self, layers: Sequence[nn.Module], before: Grid) -> None:
        """``layers``: convolution and batch norm; ``before`` is the grid of the maps that it is given."""
        weight, bias = _folded(*_pair(layers))
        super().__init__(weight.flatten(1).T.contiguous(), bias, before, axis=1)
        self._inside = len(self.weight)
        self._after = Grid.up_to(_DEVIATIONS + float(bias.abs().max()), signed=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W) to (N,D)."""
        # Not flatten, through which onnxruntime does not see that integers are multiplied.
        return self._after(maps.reshape(-1, self._inside) @ self.rounded()) + self.bias


class RoundedNetwork(nn.Module):
    """Standardised patches through convolutions, each with batch norm and ReLU, and one as large as what they leave."""

    def __init__(self, layers: Sequence[nn.Module], last: Sequence[nn.Module], size: int, *, floor: float) -> None:
        """Make it from evaluated layers.

        Args:
            layers: convolutions and their batch norms; others may stand between them, and residual ones, whose
                convolution and norm are their ``added``.
            last: the last convolution and its batch norm.
            size: of the patches, px.
            floor: as of :func:`standardize`.
        """
        super().__init__()
        self._floor = floor
        self._given = Grid(_STEP, signed=True)
        first = RowsConvolution(layers[:2], self._given, width=size)
        trunk: list[nn.Module] = [first]
        after = first.after
        for layer, following in pairwise([*layers[2:], nn.Identity()]):
            added = getattr(layer, "added", None)
            made: RoundedResidual | RoundedConvolution
            if added is not None:
                made = RoundedResidual(list(added), after)
            elif isinstance(layer, nn.Conv2d):
                made = RoundedConvolution([layer, following], after)
            else:
                continue
            trunk.append(made)
            after = made.after
        self._trunk = nn.Sequential(*trunk)
        self._last = RoundedVectors(last, after)

    def raw(self, patches: Tensor) -> Tensor:
        """Vectors (N,D) of patches (N,1,S,S) in 0..255, not yet of unit length."""
        return self._last(self._trunk(self._given(standardize_exactly(patches, floor=self._floor))))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,D) of unit length of patches (N,1,S,S) in 0..255."""
        return unit_length(self.raw(patches))


def _pair(layers: Sequence[nn.Module]) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    layer, norm = layers
    assert isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    return layer, norm


def _folded(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    fused = fuse_conv_bn_eval(layer, norm)
    assert fused.bias is not None
    return fused.weight.detach(), fused.bias.detach()


def _grid_after(norm: nn.BatchNorm2d, *, signed: bool = False) -> Grid:
    """As far as the numbers reach that a batch norm gives, to either side if they are signed."""
    if not norm.affine:
        return Grid.up_to(_DEVIATIONS, signed=signed)
    bias = norm.bias.abs() if signed else norm.bias
    return Grid.up_to(float((bias + _DEVIATIONS * norm.weight.abs()).max().detach()), signed=signed)


def _three_bits(values: Tensor) -> Tensor:
    """The smallest numbers that are no smaller and four, five, six or seven times a power of two."""
    unit = torch.exp2(torch.floor(torch.log2(values))) / 4
    return torch.ceil(values / unit) * unit
