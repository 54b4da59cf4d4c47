"""Kinds of descriptors as float32 rows whose inner product orders neighbours, and back to distances.

Of unit vectors, ||a - b||^2 = 2 - 2 a.b; of bits written as +-1, Hamming = (D - a.b) / 2, exact in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError

# float32 scores near 1 do not resolve smaller L2 distances; two descriptors that close are the same one.
_RESOLUTION = 1e-3
_UNIT_TOLERANCE = 1e-2


class Metric(NamedTuple):
    """How a kind of descriptor becomes float32 rows whose inner product orders neighbours, and back."""

    rows: Callable[[NDArray, str], NDArray[np.float32]]
    distance: Callable[[NDArray[np.float32], int], NDArray[np.float32]]
    exact: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]

    def checked(self, a: NDArray, b: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rows of two sets that are to be compared.

        Raises:
            DescriptorError: for NaN or infinity, vectors not of unit length, wrong shapes, types or dimensions.
        """
        of_a, of_b = self.checked_rows(a, "first"), self.checked_rows(b, "second")
        same_kind(of_a, of_b)
        return of_a, of_b

    def checked_rows(self, x: NDArray, which: str) -> NDArray[np.float32]:
        """Rows of one set, which messages call the ``which`` set.

        Raises:
            DescriptorError: as :meth:`checked`.
        """
        if not isinstance(x, np.ndarray) or x.ndim != 2:
            given = getattr(x, "shape", type(x).__name__)
            raise DescriptorError(f"Descriptors are arrays of shape (N, D); the {which} set is {given}.")
        return self.rows(x, which)

    def ratios(self, best: NDArray[np.float32], rival: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
        """Distance (K,) over that of the rival; 1 where both are 0 bits: not distinctive at all; 0 without a rival."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = self.distance(best, dim) / self.distance(rival, dim)
        return np.nan_to_num(ratios, nan=1.0, posinf=np.inf).astype(np.float32, copy=False)


def same_kind(a: NDArray, b: NDArray) -> None:
    """Check that rows have as many columns.

    Raises:
        DescriptorError: they have not.
    """
    if a.shape[1] != b.shape[1]:
        raise DescriptorError(
            f"Descriptors of different kinds cannot be compared: {a.shape[1]} columns against {b.shape[1]}."
        )


def _unit_rows(x: NDArray, which: str) -> NDArray[np.float32]:
    if x.dtype.kind != "f":
        raise DescriptorError(f"L2 distance takes float descriptors; the {which} set has type {x.dtype}.")
    rows = np.ascontiguousarray(x, np.float32)
    square = np.einsum("nd,nd->n", rows, rows)
    bad = np.flatnonzero(~((np.abs(square - 1) < _UNIT_TOLERANCE) | (square == 0)))
    if len(bad):
        row = int(bad[0])
        if not np.isfinite(rows[row]).all():
            raise DescriptorError(f"The {which} set of descriptors has NaN or infinity ({len(bad)} rows, first {row}).")
        raise DescriptorError(
            f"Descriptors are compared as vectors of unit length; row {row} of the {which} set has length "
            f"{np.sqrt(square[row]):.4g} ({len(bad)} such rows). Divide each row by its norm first."
        )
    return rows


def _sign_rows(x: NDArray, which: str) -> NDArray[np.float32]:
    if x.dtype != np.uint8:
        raise DescriptorError(f"Hamming distance takes packed uint8 bits; the {which} set has type {x.dtype}.")
    rows = np.unpackbits(np.ascontiguousarray(x), axis=1).astype(np.float32)
    rows *= 2
    rows -= 1
    return rows


def _l2(scores: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    return np.sqrt(np.maximum(np.float32(2) - np.float32(2) * scores, np.float32(_RESOLUTION**2)))


def _l2_exact(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.linalg.norm(a - b, axis=1).astype(np.float32)


def _hamming(scores: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    return np.float32(0.5) * (np.float32(dim) - scores)


def _hamming_exact(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.count_nonzero(a != b, axis=1).astype(np.float32)


_METRICS: dict[str, Metric] = {
    "l2": Metric(_unit_rows, _l2, _l2_exact),
    "hamming": Metric(_sign_rows, _hamming, _hamming_exact),
}


def metric_of(distance: str) -> Metric:
    """The metric of a name.

    Raises:
        DescriptorError: there is none.
    """
    if distance not in _METRICS:
        raise DescriptorError(f"There is no distance {distance!r}; known are {', '.join(_METRICS)}.")
    return _METRICS[distance]
