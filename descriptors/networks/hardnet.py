"""HardNet: Mishchuk, Mishkin, Radenovic and Matas, Working hard to know your neighbor's margins, NIPS 2017."""

from __future__ import annotations

from torch import Tensor, nn

from descriptors.networks.l2net import L2Net


class HardNet(L2Net):
    """L2-Net's trunk with dropout before the last convolution, trained with another loss: 1,334,560 parameters, 128-D.

    The names of its parameters are L2-Net's, so that one may begin with the other's weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.1)  # of the paper's first version; its code later has 0.3

    def feature_maps(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """As L2-Net's: output of the first and of the last batch norm."""
        first = self.first(self.standardized(patches))
        return first, self.last(self.dropout(self.trunk(first)))
