"""From per-pixel features of two pictures to matching costs, 0 (alike) to 255.

Features are computed once a picture (:meth:`CostFunction.features`). They are then compared in either of two ways:
shifted along rows (:meth:`CostFunction.shifted`, rectified pairs) or taken anywhere in the second picture
(:meth:`CostFunction.sampled`, one candidate of a plane sweep at a time). The kernels are one and the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pipelines.core.errors import ConfigError

CENSUS_ROWS, CENSUS_COLUMNS = 7, 9
_BITS = CENSUS_ROWS * CENSUS_COLUMNS - 1


class DenseDescriber(Protocol):
    """Something that describes every pixel; :mod:`pipelines.depth.dense_features` makes them from the zoo's names."""

    name: str

    @property
    def fingerprint(self) -> str:
        """Text that changes whenever the vectors may change."""
        ...

    def describe(self, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H,W,C) float32 vectors of unit length of a picture (H,W)."""
        ...


@dataclass(frozen=True)
class FeatureMaps:
    """What is known of every pixel of one picture.

    Attributes:
        bits: (H,W) uint64 census signature, or None.
        vectors: (H,W,C) float32 of unit length, or None.
    """

    bits: NDArray[np.uint64] | None
    vectors: NDArray[np.float32] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        given = self.bits if self.bits is not None else self.vectors
        assert given is not None
        return given.shape[0], given.shape[1]


@dataclass(frozen=True)
class CostFunction:
    """How features become costs.

    Attributes:
        describer: of dense descriptors, or None for census alone.
        census: share of the census cost in 0..1; the rest is the descriptors'.
        gain: cosine distance (1 - a·b) that costs 255 is 1 / gain.
        outside: cost where the second picture has no pixel.
    """

    describer: DenseDescriber | None = None
    census: float = 1.0
    gain: float = 1.0
    outside: int = 90

    def __post_init__(self) -> None:
        if not 0 <= self.census <= 1 or (self.describer is None and self.census != 1):
            raise ConfigError(
                f"A census share of {self.census} cannot be used",
                "it must lie in 0 to 1, and be 1 without a descriptor",
            )

    def features(self, gray: NDArray[np.uint8]) -> FeatureMaps:
        """Features of a picture (H,W) uint8."""
        bits = census(gray) if self.census > 0 else None
        vectors = self.describer.describe(gray) if self.describer is not None and self.census < 1 else None
        return FeatureMaps(bits, vectors)

    def shifted(self, first: FeatureMaps, second: FeatureMaps, start: int, count: int) -> NDArray[np.uint8]:
        """Cost volume (H,W,count) uint8 of a rectified pair: pixel x against x - start - k of the second picture.

        Args:
            first, second: features of two pictures with as many rows.
            start: smallest disparity, px; may be negative.
            count: number of disparities.
        """
        height, width = first.shape
        volume = np.empty((height, width, count), np.uint8)
        _shifted(*_both(first), *_both(second), start, *self._shares(), np.uint8(self.outside), volume)
        return volume

    def sampled(
        self, first: FeatureMaps, second: FeatureMaps, x: NDArray[np.float32], y: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Cost (H,W) uint8 of pixels against the places (x, y) of the second picture.

        Vectors are interpolated linearly, census signatures taken from the nearest pixel.

        Args:
            first, second: features of two pictures of any sizes.
            x, y: (H,W) float32 pixels of the second picture; outside it or NaN, the cost is ``outside``.
        """
        costs = np.empty(first.shape, np.uint8)
        _sampled(*_both(first), *_both(second), x, y, *self._shares(), np.uint8(self.outside), costs)
        return costs

    def _shares(self) -> tuple[np.float32, np.float32]:
        """Cost of one differing bit, and of a cosine distance of 1."""
        return np.float32(self.census * 255 / _BITS), np.float32((1 - self.census) * 255 * self.gain)


def census(gray: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(H,W) uint64: which pixels of a 7×9 window are darker than the middle one; beyond the border the picture repeats.

    Source: Zabih and Woodfill, Non-parametric local transforms for computing visual correspondence, ECCV 1994.
    """
    edge = np.pad(gray, ((CENSUS_ROWS // 2,) * 2, (CENSUS_COLUMNS // 2,) * 2), mode="edge")
    return _census(edge, CENSUS_ROWS, CENSUS_COLUMNS)


_NO_BITS = np.zeros((0, 0), np.uint64)
_NO_VECTORS = np.zeros((0, 0, 0), np.float32)


def _both(maps: FeatureMaps) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    bits = _NO_BITS if maps.bits is None else maps.bits
    return bits, _NO_VECTORS if maps.vectors is None else np.ascontiguousarray(maps.vectors)


@intrinsic
def _popcount(typing_context, value):  # type: ignore[no-untyped-def]
    """Number of set bits of a uint64, by the processor's own instruction."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@njit(cache=True, parallel=True)
def _census(padded, rows, columns):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = padded.shape[0] - rows + 1, padded.shape[1] - columns + 1
    bits = np.empty((height, width), np.uint64)
    for y in prange(height):
        for x in range(width):
            middle = padded[y + rows // 2, x + columns // 2]
            signature = np.uint64(0)
            for v in range(rows):
                for u in range(columns):
                    if v != rows // 2 or u != columns // 2:
                        signature = (signature << np.uint64(1)) | np.uint64(padded[y + v, x + u] < middle)
            bits[y, x] = signature
    return bits


@njit(cache=True, fastmath=True)
def _dot(a, b):  # type: ignore[no-untyped-def]  # pragma: no cover
    total = np.float32(0)
    for channel in range(a.shape[0]):
        total += a[channel] * b[channel]
    return total


@njit(cache=True)
def _level(cost):  # type: ignore[no-untyped-def]  # pragma: no cover
    return np.uint8(min(max(cost, np.float32(0)), np.float32(255)) + np.float32(0.5))


@njit(cache=True, parallel=True)
def _shifted(bits, vectors, other_bits, other_vectors, start, a_bit, a_cosine, outside, volume):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width, count = volume.shape
    other_width = max(other_bits.shape[1], other_vectors.shape[1])
    for y in prange(height):
        for x in range(width):
            for k in range(count):
                u = x - start - k
                if u < 0 or u >= other_width:
                    volume[y, x, k] = outside
                    continue
                cost = np.float32(0)
                if a_bit > 0:
                    cost += a_bit * np.float32(_popcount(bits[y, x] ^ other_bits[y, u]))  # type: ignore[call-arg]
                if a_cosine > 0:
                    cost += a_cosine * (np.float32(1) - _dot(vectors[y, x], other_vectors[y, u]))
                volume[y, x, k] = _level(cost)


@njit(cache=True, parallel=True, fastmath=False)
def _sampled(bits, vectors, other_bits, other_vectors, xs, ys, a_bit, a_cosine, outside, costs):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width = costs.shape
    other_height = max(other_bits.shape[0], other_vectors.shape[0])
    other_width = max(other_bits.shape[1], other_vectors.shape[1])
    channels = vectors.shape[2]
    for y in prange(height):
        for x in range(width):
            u, v = xs[y, x], ys[y, x]
            if not (u >= 0 and v >= 0 and u <= other_width - 1 and v <= other_height - 1):
                costs[y, x] = outside
                continue
            cost = np.float32(0)
            if a_bit > 0:
                cost += a_bit * np.float32(_popcount(bits[y, x] ^ other_bits[int(v + 0.5), int(u + 0.5)]))  # type: ignore[call-arg]
            if a_cosine > 0:
                left, top = min(int(u), max(other_width - 2, 0)), min(int(v), max(other_height - 2, 0))
                right, below = min(left + 1, other_width - 1), min(top + 1, other_height - 1)
                s, t = np.float32(u - left), np.float32(v - top)
                one, two = (1 - s) * (1 - t), s * (1 - t)
                three, four = (1 - s) * t, s * t
                product, square = np.float32(0), np.float32(0)
                for c in range(channels):
                    value = one * other_vectors[top, left, c] + two * other_vectors[top, right, c]
                    value += three * other_vectors[below, left, c] + four * other_vectors[below, right, c]
                    product += value * vectors[y, x, c]
                    square += value * value
                cost += a_cosine * (np.float32(1) - product / np.sqrt(max(square, np.float32(1e-12))))
            costs[y, x] = _level(cost)
