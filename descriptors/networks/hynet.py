"""HyNet: Tian et al., Learning local descriptor with hybrid similarity measure and triplet loss, NeurIPS 2020."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from descriptors.networks.l2net import LAYERS, L2Net
from descriptors.networks.normalize import unit_length


class FilterResponseNorm(nn.Module):
    """Each map divided by its root mean square, scaled and shifted (Singh and Krishnan, CVPR 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W)."""
        # The mean square in float32: in half precision it would lose most of its digits, and overflow in fp16. As a
        # length it is one pass over the maps in onnxruntime; what is small is multiplied first.
        length = torch.linalg.vector_norm(maps.float(), dim=(2, 3), keepdim=True)
        scale = (length.square() / (maps.shape[2] * maps.shape[3]) + 1e-6).rsqrt()
        return maps * (self.weight * scale) + self.bias


class ThresholdedLinearUnit(nn.Module):
    """The larger of a value and its channel's learnt threshold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tau = nn.Parameter(-torch.ones(1, channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """(N,C,H,W)."""
        return torch.maximum(maps, self.tau)


class HyNet(nn.Module):
    """L2-Net's layers, each followed by filter response norm and threshold: 1,336,355 parameters, 128-D.

    The patch itself goes through the first pair, in place of being standardised: a factor on the grey values
    changes nothing, an offset does.
    """

    patch_size = 32
    dim = 128
    adopts = L2Net

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [FilterResponseNorm(1), ThresholdedLinearUnit(1)]
        before = 1
        for channels, stride in LAYERS:
            layers += [
                nn.Conv2d(before, channels, 3, stride=stride, padding=1),
                FilterResponseNorm(channels),
                ThresholdedLinearUnit(channels),
            ]
            before = channels
        self.trunk = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Sequential(nn.Conv2d(before, self.dim, 8, bias=False), nn.BatchNorm2d(self.dim, affine=False))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight, gain=0.6)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0.01)

    @torch.no_grad()
    def adopt(self, other: L2Net) -> None:
        """Take the filters of a network with batch norm and compute nearly the same: a training from here is shorter.

        What batch norm subtracted and divided by goes into filters and biases, the thresholds become ReLU's. The first
        filters give up their sum, since a grey level is not taken off the patch here.
        """
        given, own = list(other.first) + list(other.trunk), list(self.trunk)[2:]
        convolutions = [module for module in own if isinstance(module, nn.Conv2d)]
        before = [module for module in given if isinstance(module, nn.Conv2d)]
        norms = [module for module in given if isinstance(module, nn.BatchNorm2d)]
        for mine, theirs, norm in zip(convolutions, before, norms, strict=True):
            assert norm.running_mean is not None and norm.running_var is not None and mine.bias is not None
            scale = (norm.running_var + norm.eps).rsqrt()
            mine.weight.copy_(theirs.weight * scale[:, None, None, None])
            mine.bias.copy_(-norm.running_mean * scale)
        first = convolutions[0]
        first.weight -= first.weight.mean(dim=(1, 2, 3), keepdim=True)
        for module in own:
            if isinstance(module, ThresholdedLinearUnit):
                module.tau.zero_()
        self.last.load_state_dict(other.last.state_dict())

    def raw(self, patches: Tensor) -> Tensor:
        """Vectors (N,128) before they are scaled to unit length: the loss looks at their lengths too."""
        return self.last(self.dropout(self.trunk(patches / 255))).flatten(1)

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,128) of unit length of patches (N,1,32,32) in 0..255."""
        return unit_length(self.raw(patches))
