"""kornia's networks as contestants of the speed board: random weights, which cost the same as trained ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
_NETWORKS = ("HardNet", "TFeat", "SOSNet", "HyNet")


def kornia_peers() -> dict[str, Describe]:
    """Name → function (N,1,32,32) uint8 → (N,128), on the CPU as kornia's user runs it; empty without kornia."""
    try:
        from kornia import feature
    except ImportError:
        return {}
    return {f"kornia {name}": _describe(getattr(feature, name)(pretrained=False).eval()) for name in _NETWORKS}


def _describe(network: nn.Module) -> Describe:
    def describe(patches: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return network(torch.from_numpy(patches).float() / 255).numpy()

    return describe
