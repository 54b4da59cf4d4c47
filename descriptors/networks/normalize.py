"""What every network does to its input and its output."""

from __future__ import annotations

from torch import Tensor

FLOOR = 1e-4
"""Added to a patch's variance, in grey values of 0..255: no number is divided by 0."""
INSTANCE_NORM_FLOOR = 1e-5 * 255**2
"""What torch's instance norm adds on grey values of 0..1, as the authors of TFeat and SOSNet have it."""


def standardize(patches: Tensor, *, floor: float = FLOOR) -> Tensor:
    """Patches (N,1,S,S) with mean 0 and standard deviation 1 each; a flat patch becomes 0.

    ``floor`` is added to the variance, in grey values of 0..255.
    """
    centred = patches - patches.mean(dim=(2, 3), keepdim=True)
    return centred * (centred.square().mean(dim=(2, 3), keepdim=True) + floor).rsqrt()


def standardize_exactly(patches: Tensor, *, floor: float) -> Tensor:
    """The same with statistics of double precision, so that these do not depend on the order of summation."""
    wide = patches.double()
    mean = wide.mean(dim=(2, 3), keepdim=True)
    variance = wide.square().mean(dim=(2, 3), keepdim=True) - mean.square()
    return (patches - mean.to(patches.dtype)) * (variance.clamp_min(0) + floor).rsqrt().to(patches.dtype)


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (N,D) as float32 divided by their length (local response normalisation over all channels)."""
    vectors = vectors.float()
    return vectors * (vectors.square().sum(dim=1, keepdim=True) + 1e-12).rsqrt()
