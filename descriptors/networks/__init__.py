"""Architectures of the trained descriptors, one file per paper; imported (and torch with them) on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from descriptors.contract import DescriptorError

if TYPE_CHECKING:
    from torch import nn

NETWORKS: dict[str, tuple[str, str]] = {
    "tfeat": ("descriptors.networks.tfeat", "TFeat"),
    "l2net": ("descriptors.networks.l2net", "L2Net"),
}
"""Name of the network → module and class."""


def build(name: str) -> nn.Module:
    """An untrained network by name; it takes (N,1,S,S) float32 in 0..255, S its ``patch_size``.

    Raises:
        DescriptorError: there is no network of this name.
    """
    if name not in NETWORKS:
        raise DescriptorError(f"There is no network {name!r}. Known are: {', '.join(NETWORKS)}.")
    module, network = NETWORKS[name]
    return getattr(importlib.import_module(module), network)()
