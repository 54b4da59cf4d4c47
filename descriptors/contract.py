"""The contract that every local descriptor of the zoo keeps.

A descriptor turns square grey patches into vectors (or packed bit strings) whose distance tells
whether two patches show the same place. Everything else in recon (detectors, matching, mapping)
knows descriptors only through this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Kind = Literal["float", "binary"]
Distance = Literal["l2", "hamming"]


class DescriptorError(ValueError):
    """A descriptor was asked for something it cannot do; the message says what was given and what is allowed."""


@dataclass(frozen=True)
class DescriptorSpec:
    """What a descriptor is, without loading it.

    Attributes:
        name: registry name, as given to ``--descriptor``.
        dim: number of floats, or of bits for a binary descriptor.
        kind: ``float`` (unit length, float32) or ``binary`` (packed uint8).
        distance: metric under which two descriptors are compared.
        patch_size: side in pixels of the square patch that ``describe`` takes.
        magnification: half side of the patch in units of the keypoint's scale sigma. A DoG keypoint
            with sigma = 2 px and magnification 6 gives a patch of 24 x 24 photo pixels.
        ratio: largest nearest / second-nearest distance ratio kept by the matcher, set from data.
        parameters: number of trained parameters, 0 for a handcrafted descriptor.
        weights: file in ``descriptors/weights``, or None.
        source: paper or library that defines the descriptor.
        needs_angle: False if the descriptor is made for upright patches.
    """

    name: str
    dim: int
    kind: Kind = "float"
    distance: Distance = "l2"
    patch_size: int = 32
    magnification: float = 6.0
    ratio: float = 0.9
    parameters: int = 0
    weights: str | None = None
    source: str = ""
    needs_angle: bool = True

    @property
    def width(self) -> int:
        """Columns of the array that ``describe`` returns: floats, or bytes for a binary descriptor."""
        return self.dim // 8 if self.kind == "binary" else self.dim

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """Element type of the array that ``describe`` returns."""
        return np.uint8 if self.kind == "binary" else np.float32


@runtime_checkable
class Descriptor(Protocol):
    """Patches in, descriptors out.

    ``describe`` takes (N,1,S,S) uint8 or float32 in 0..255 and returns (N,D) float32 of unit length,
    or (N,D/8) packed uint8 for a binary descriptor. N = 0 keeps D. A patch's descriptor does not
    depend on its neighbours in the batch.
    """

    spec: DescriptorSpec

    def describe(self, patches: NDArray) -> NDArray:
        """Describe patches (N,1,S,S); see the class docstring for types and shapes."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes whenever the output may change (weights, parameters, code version)."""
        ...


def check_patches(patches: NDArray, spec: DescriptorSpec) -> NDArray:
    """Return ``patches`` if they are (N,1,S,S) uint8 or float32 of the size that ``spec`` names.

    Raises:
        DescriptorError: with the shape or type that was given and the one that is needed.
    """
    size = spec.patch_size
    if not isinstance(patches, np.ndarray) or patches.ndim != 4 or patches.shape[1:] != (1, size, size):
        given = getattr(patches, "shape", type(patches).__name__)
        raise DescriptorError(
            f"{spec.name} takes patches of shape (N, 1, {size}, {size}); given was {given}. "
            f"Cut them with descriptors.frames.extract_patches(image, frames, patch_size={size})."
        )
    if patches.dtype not in (np.uint8, np.float32):
        raise DescriptorError(f"{spec.name} takes uint8 or float32 patches in 0..255; given was {patches.dtype}.")
    return patches
