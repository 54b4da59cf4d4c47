"""Swift-stereo: recon's own network for matching every pixel of two rectified pictures on a processor.

As the fast network of Žbontar and LeCun, Stereo matching by training a convolutional neural network to compare image
patches, JMLR 2016: small convolutions without pooling, compared by the cosine. Two of the layers are dilated, so that
six of them see 17 pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from descriptors.networks.normalize import standardize, unit_length

_CHANNELS = 32
_DILATIONS = (1, 1, 1, 2, 2, 1)


class SwiftStereo(nn.Module):
    """Six 3×3 convolutions, no padding: 46,560 parameters, 46,000 multiply-adds for each pixel, 32-D."""

    patch_size = 17
    dim = _CHANNELS

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for dilation in _DILATIONS:
            layers += [nn.Conv2d(before, _CHANNELS, 3, dilation=dilation), nn.LeakyReLU(0.1)]
            before = _CHANNELS
        self.layers = nn.Sequential(*layers[:-1])
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def dense(self, pictures: Tensor) -> Tensor:
        """Vectors (N,32,H-16,W-16) of standardised pictures (N,1,H,W)."""
        return unit_length(self.layers(pictures))

    def forward(self, patches: Tensor) -> Tensor:
        """Descriptors (N,32) of unit length of patches (N,1,17,17) in 0..255."""
        return self.dense(standardize(patches)).flatten(1)
