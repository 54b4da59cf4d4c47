"""SOSNet: Tian et al., SOSNet: Second order similarity regularization for local descriptor learning, CVPR 2019."""

from __future__ import annotations

from descriptors.networks.hardnet import HardNet
from descriptors.networks.normalize import INSTANCE_NORM_FLOOR


class SOSNet(HardNet):
    """L2-Net's trunk with dropout before the last convolution, trained with another loss: 1,334,560 parameters, 128-D.

    The names of its parameters are L2-Net's, so that one may begin with the other's weights. Patches go through the
    authors' instance norm.
    """

    floor = INSTANCE_NORM_FLOOR
