"""Architectures of the trained descriptors, one file per paper; imported (and torch with them) on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from descriptors.contract import unknown

if TYPE_CHECKING:
    from torch import nn

NETWORKS: dict[str, tuple[str, str]] = {
    "tfeat": ("descriptors.networks.tfeat", "TFeat"),
    "l2net": ("descriptors.networks.l2net", "L2Net"),
    "cs-l2net": ("descriptors.networks.l2net", "CentralSurroundL2Net"),
    "hardnet": ("descriptors.networks.hardnet", "HardNet"),
    "sosnet": ("descriptors.networks.sosnet", "SOSNet"),
    "hynet": ("descriptors.networks.hynet", "HyNet"),
    "deepdesc": ("descriptors.networks.deepdesc", "DeepDesc"),
    "tnet": ("descriptors.networks.gloss", "TNet"),
    "swift": ("descriptors.networks.swift", "Swift"),
    "swift-small": ("descriptors.networks.swift", "SwiftSmall"),
    "swift-large": ("descriptors.networks.swift", "SwiftLarge"),
    "swift-stereo": ("descriptors.networks.stereo", "SwiftStereo"),
}
"""Name of the network → module and class."""

SCORERS: dict[str, tuple[str, str]] = {
    "matchnet": ("descriptors.networks.matchnet", "MatchNet"),
    "deepcompare-siam": ("descriptors.networks.deepcompare", "Siam"),
    "deepcompare-pseudo-siam": ("descriptors.networks.deepcompare", "PseudoSiam"),
    "deepcompare-siam-2stream": ("descriptors.networks.deepcompare", "Siam2Stream"),
    "deepcompare-2ch": ("descriptors.networks.deepcompare", "TwoCh"),
    "deepcompare-2ch2stream": ("descriptors.networks.deepcompare", "TwoCh2Stream"),
    "gloss-snet": ("descriptors.networks.gloss", "SNet"),
    "gloss-cs-snet": ("descriptors.networks.gloss", "CSSNet"),
}
"""The metric networks likewise: modules ``features`` and ``score`` in place of an embedding."""


def build(name: str) -> nn.Module:
    """An untrained network by name; it takes (N,1,S,S) float32 in 0..255, S its ``patch_size``.

    A network of :data:`NETWORKS` gives descriptors, one of :data:`SCORERS` the scores of pairs i and N/2 + i.

    Raises:
        DescriptorError: there is no network of this name.
    """
    known = NETWORKS | SCORERS
    if name not in known:
        raise unknown("network", name, known)
    module, network = known[name]
    return getattr(importlib.import_module(module), network)()
