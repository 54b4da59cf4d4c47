"""The contract that every local descriptor of the zoo keeps.

A descriptor turns square grey patches into vectors (or packed bit strings) whose distance tells
whether two patches show the same place. Everything else in recon (detectors, matching, mapping)
knows descriptors only through this file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
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

    Raises:
        DescriptorError: a size that is none.
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

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.dim < 1 or not self.magnification > 0:
            raise DescriptorError(
                f"{self.name} has patches of {self.patch_size} px, magnification {self.magnification:g} and "
                f"{self.dim} dimensions: all must be above 0."
            )

    @property
    def width(self) -> int:
        """Columns of the array that ``describe`` returns: floats, or bytes for a binary descriptor."""
        return self.dim // 8 if self.kind == "binary" else self.dim

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """Element type of the array that ``describe`` returns."""
        return np.uint8 if self.kind == "binary" else np.float32


@dataclass(frozen=True)
class PairScorerSpec:
    """What a metric network is, without loading it.

    Attributes:
        name: registry name, as given to ``--descriptor``.
        width: columns of the array that ``features`` returns.
        raw: the features are the patch itself as bytes: networks that see both patches as channels have no others.
        embeds: the features at unit length are a descriptor under L2, registered as NAME-l2.
        shortlist: descriptor whose nearest neighbours are the candidates that are scored; NAME-l2 if ``embeds``.
        candidates, reach: scored are keypoints that are among each other's so many nearest by the shortlist's distance,
            and at most so many times as far away as the nearest.
        threshold: lowest score of a match.
        margin: least lead of a match over the next best of its shortlist, on both sides: what the ratio is to
            distances. Threshold and margin are set from data.
        patch_size, magnification, parameters, weights, source: as of :class:`DescriptorSpec`.
    """

    name: str
    width: int
    raw: bool = False
    embeds: bool = False
    shortlist: str = "rootsift"
    candidates: int = 6
    reach: float = 1.3
    threshold: float = 0.0
    margin: float = 0.0
    patch_size: int = 64
    magnification: float = 7.5
    parameters: int = 0
    weights: str | None = None
    source: str = ""

    @property
    def dtype(self) -> type[np.uint8] | type[np.float32]:
        """Element type of the array that ``features`` returns."""
        return np.uint8 if self.raw else np.float32


@runtime_checkable
class PairScorer(Protocol):
    """Two patches in, how alike they are out: a learned metric in place of a distance.

    In two steps, so that the larger part of the work is done once per patch. ``features`` takes (N,1,S,S) uint8 or
    float32 in 0..255 and returns (N,F), float32 or, of a ``raw`` one, uint8. ``score`` takes the features of K first
    and K second patches and returns (K,) float32, larger = more alike, comparable within one scorer only. It need not
    be symmetric: the first patch is always that of the photo that comes first. N = 0 and K = 0 are answered, and no
    row depends on its neighbours in the batch.
    """

    @property
    def spec(self) -> PairScorerSpec:
        """What it is."""
        ...

    def features(self, patches: NDArray) -> NDArray:
        """What is to be kept of each patch (N,1,S,S); see the class docstring for types and shapes."""
        ...

    def score(self, first: NDArray, second: NDArray) -> NDArray[np.float32]:
        """Scores (K,) of row i of ``first`` (K,F) against row i of ``second`` (K,F)."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes whenever the output may change (weights, parameters, code version)."""
        ...


@runtime_checkable
class Descriptor(Protocol):
    """Patches in, descriptors out.

    ``describe`` takes (N,1,S,S) uint8 or float32 in 0..255 and returns (N,D) float32 of unit length,
    or (N,D/8) packed uint8 for a binary descriptor. N = 0 keeps D. A patch's descriptor does not
    depend on its neighbours in the batch.
    """

    @property
    def spec(self) -> DescriptorSpec:
        """What it is."""
        ...

    def describe(self, patches: NDArray) -> NDArray:
        """Describe patches (N,1,S,S); see the class docstring for types and shapes."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes whenever the output may change (weights, parameters, code version)."""
        ...


class Loader(Protocol):
    """A descriptor that is not loaded yet: what the registry lists, and what a package offers as its entry point."""

    @property
    def spec(self) -> DescriptorSpec:
        """What it is."""
        ...

    def __call__(self) -> Descriptor:
        """Load it."""
        ...


def unknown(kind: str, name: str, known: Iterable[str]) -> DescriptorError:
    """The error that no ``kind`` ("descriptor", "recipe") has a name; it tells the nearest known one, and all."""
    listed = list(known)
    near = difflib.get_close_matches(name.lower(), listed, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return DescriptorError(f"There is no {kind} {name!r}.{hint} Known are: {', '.join(listed)}.")


def check_patches(patches: NDArray, spec: DescriptorSpec | PairScorerSpec) -> NDArray:
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


def check_features(first: NDArray, second: NDArray, spec: PairScorerSpec) -> None:
    """Check that two arrays are features of one and the same number of patches.

    Raises:
        DescriptorError: with the shapes or types that were given and those that are needed.
    """
    shapes = [getattr(side, "shape", type(side).__name__) for side in (first, second)]
    if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][1] != spec.width:
        raise DescriptorError(
            f"{spec.name} scores features of shape (K, {spec.width}) against as many; "
            f"given were {shapes[0]} and {shapes[1]}."
        )
    if first.dtype != spec.dtype or second.dtype != spec.dtype:
        raise DescriptorError(
            f"Features of {spec.name} are {np.dtype(spec.dtype)}; given were {first.dtype} and {second.dtype}."
        )
