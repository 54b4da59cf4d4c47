"""Binary L2-Net and binary CS L2-Net: the signs of the network's output as bits, with no further training.

Tian, Fan and Wu, L2-Net, CVPR 2017. The weights are those of the network itself: there is no second file.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from descriptors import runtime
from descriptors.contract import Descriptor, DescriptorSpec, check_patches


class SignDescriptor:
    """Packed signs of another descriptor; keeps :class:`descriptors.contract.Descriptor`."""

    def __init__(self, spec: DescriptorSpec, network: Descriptor) -> None:
        """Args: spec: of the bits; network: the descriptor with as many floats. Unit length changes no sign."""
        self.spec, self._network = spec, network

    @property
    def fingerprint(self) -> str:
        """That of the network."""
        return self._network.fingerprint

    def describe(self, patches: NDArray) -> NDArray[np.uint8]:
        """Bits (N,D/8) of patches (N,1,S,S) uint8 or float32 in 0..255; a bit is 1 where the output is positive.

        Raises:
            DescriptorError: patches of another shape or type, or weights that cannot be run.
        """
        check_patches(patches, self.spec)
        return np.packbits(self._network.describe(patches) > 0, axis=1)


def load(spec: DescriptorSpec) -> SignDescriptor:
    """The bits of the network whose weights a row of the registry names.

    Raises:
        DescriptorError: the weights are missing.
    """
    # Named as the network, so that both use one cached graph, and a message says what is to be trained.
    own = replace(spec, name=runtime.weights_file(spec).stem, kind="float", distance="l2")
    return SignDescriptor(spec, runtime.load(own))
