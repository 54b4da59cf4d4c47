"""Weights of networks drawn at random, for tests of everything but their training."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from descriptors.networks import build


def write_random(name: str, path: Path) -> Path:
    """A safetensors file of the network ``name``; its batch norms are no identities."""
    if path.exists():
        return path
    torch.manual_seed(0)
    network = build(name)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.2, 1)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, path, metadata={"network": name})
    return path
