"""What every network does to its input and its output."""

from __future__ import annotations

from torch import Tensor


def standardize(patches: Tensor) -> Tensor:
    """Patches (N,1,S,S) with mean 0 and standard deviation 1 each; a flat patch becomes 0."""
    centred = patches - patches.mean(dim=(2, 3), keepdim=True)
    return centred * (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-4).rsqrt()


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (N,D) as float32 divided by their length (local response normalisation over all channels)."""
    vectors = vectors.float()
    return vectors * (vectors.square().sum(dim=1, keepdim=True) + 1e-12).rsqrt()
