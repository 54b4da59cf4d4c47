"""Distances between sets of descriptors: exact nearest neighbours, mutual matches, in bounded memory.

Everything is done in tiles of 1,024 x 1,024 scores (4 MB a thread), so that a tile is still in the cache when
its rows and columns are searched, and the N x M matrix never exists. A score is the inner product: of unit
vectors, ||a - b||^2 = 2 - 2 a.b; of bits written as +-1, Hamming = (D - a.b) / 2, exact in float32.

The products run in onnxruntime, whose float kernels use AVX-512 where numpy's OpenBLAS may not, and which
stays on the calling thread, so that callers may work on one pair per core (see ``threads``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from descriptors.contract import DescriptorError, Distance

T = TypeVar("T")

TILE = 1024
# Rows of a tile are grouped twice into this many groups to find the two best per column (see _two_best_of_columns).
_GROUPS = 32
# float32 scores near 1 do not resolve smaller L2 distances; two descriptors that close are the same one.
_RESOLUTION = 1e-3
_UNIT_TOLERANCE = 1e-2
# Up to this k, k passes of argmax over a tile are faster than one argpartition.
_ARGMAX_PASSES = 24

# A serialised ONNX model of one node, s = a b^T (Gemm with transB = 1, opset 13), written out here so that matching
# does not have to import onnx. tests/descriptors/test_distances.py builds it anew with onnx.helper and compares.
PRODUCT_MODEL = (
    b'\x08\x08:n\n\x1e\n\x01a\n\x01b\x12\x01s"\x04Gemm*\r\n\x06transB\x18\x01\xa0\x01\x02\x12\x07product'
    b"Z\x15\n\x01a\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01N\n\x03\x12\x01D"
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01M\n\x03\x12\x01D"
    b"b\x15\n\x01s\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01N\n\x03\x12\x01MB\x04\n\x00\x10\r"
)


@dataclass(frozen=True)
class Matches:
    """Matches between two sets of descriptors.

    Attributes:
        pairs: (M,2) int32 indices into the first and the second set, sorted by the first; each index at most once.
        distances: (M,) float32, L2 or Hamming.
        ratios: (M,) float32, nearest / second-nearest distance, the larger one of the two sides; 0 where a side has no
            second descriptor.
    """

    pairs: NDArray[np.int32]
    distances: NDArray[np.float32]
    ratios: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)


def mutual_matches(a: NDArray, b: NDArray, *, ratio: float, distance: Distance = "l2", threads: int = 1) -> Matches:
    """Mutual nearest neighbours that also pass Lowe's ratio test, from a to b and from b to a.

    A pair is kept if each is the other's nearest and, on both sides, d(nearest) < ratio * d(second nearest).
    The second nearest is the next descriptor whatever its distance, so an exact duplicate of the nearest
    rejects the match. Where a side has no second descriptor, its ratio test is passed. L2 distances below
    0.001 count as 0.001. The function keeps no state and may be called from several threads at once.

    Args:
        a, b: (N,D) and (M,D) float of unit length (rows of zeros match nothing), or packed uint8 bits for Hamming.
        ratio: above 0; 1 or more switches the ratio test off. Among equal distances the lowest indices match.
        distance: ``l2`` or ``hamming``.
        threads: cores to use for this pair. Over many pairs, one thread a pair and several pairs at once is
            as fast, and leaves other Python work to the waiting core.

    Raises:
        DescriptorError: for NaN or infinity, vectors not of unit length, wrong shapes, types or dimensions.

    Source: Lowe, IJCV 2004, 7.1 (ratio); the test in both directions is that of COLMAP's matcher.
    """
    if not ratio > 0:
        raise DescriptorError(f"The ratio of the ratio test must be above 0; given was {ratio}.")
    metric = _metric(distance)
    rows, columns = _checked(a, b, metric)
    if not len(rows) or not len(columns):
        return Matches(np.empty((0, 2), np.int32), np.empty(0, np.float32), np.empty(0, np.float32))
    near, beside = _search(rows, columns, max(1, threads))
    # The same float was computed once for the row and for the column: equality means mutual.
    keep = (near.best == beside.best[near.index]) & (near.best > -np.inf)
    dim = rows.shape[1]
    first = metric.distance(near.best, dim)
    with np.errstate(invalid="ignore"):  # 0 / 0 bits: not distinctive at all
        second = np.minimum(metric.distance(near.second, dim), metric.distance(beside.second, dim)[near.index])
        ratios = np.nan_to_num(first / second, nan=1.0).astype(np.float32, copy=False)
    if ratio < 1:
        keep &= first < ratio * second
    i = np.flatnonzero(keep)
    j = near.index[i]
    _, first_use = np.unique(j, return_index=True)
    chosen = np.sort(first_use)
    i, j = i[chosen], j[chosen]
    return Matches(np.stack([i, j], 1).astype(np.int32), metric.exact(rows[i], columns[j]), ratios[i])


def nearest(
    a: NDArray, b: NDArray, k: int, *, distance: Distance = "l2", threads: int = 1
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k nearest descriptors of b for every descriptor of a, exact, nearest first.

    Memory is that of the answer plus one tile a thread, whatever N and M are. Equal distances come in the
    order of their indices; which of several equals fills the last place is not promised.

    Args:
        a, b: (N,D) and (M,D), as in :func:`mutual_matches`.
        k: how many; the answer has min(k, M) columns.
        distance: ``l2`` or ``hamming``.
        threads: cores to use.

    Returns:
        (N, min(k, M)) int32 indices into b, and float32 distances.

    Raises:
        DescriptorError: as :func:`mutual_matches`, or if k is negative.
    """
    if k < 0:
        raise DescriptorError(f"The number of neighbours must not be negative; given was {k}.")
    metric = _metric(distance)
    rows, columns = _checked(a, b, metric)
    k = min(k, len(columns))
    index = np.zeros((len(rows), k), np.int32)
    scores = np.zeros((len(rows), k), np.float32)
    if not len(rows) or not k:
        return index, scores

    def work(stripes: Sequence[slice]) -> None:
        memory = np.empty(TILE * TILE, np.float32)
        for stripe in stripes:
            index[stripe], scores[stripe] = _nearest_of_stripe(rows[stripe], columns, k, memory)

    _spread(work, _shares(len(rows), max(1, threads)))
    return index, metric.distance(scores, rows.shape[1])


# --- metrics -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Metric:
    """How a kind of descriptor becomes float32 rows whose inner product orders neighbours, and back."""

    rows: Callable[[NDArray, str], NDArray[np.float32]]
    distance: Callable[[NDArray[np.float32], int], NDArray[np.float32]]
    exact: Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]


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


_METRICS: dict[str, _Metric] = {
    "l2": _Metric(_unit_rows, _l2, _l2_exact),
    "hamming": _Metric(_sign_rows, _hamming, _hamming_exact),
}


def _metric(distance: str) -> _Metric:
    if distance not in _METRICS:
        raise DescriptorError(f"There is no distance {distance!r}; known are {', '.join(_METRICS)}.")
    return _METRICS[distance]


def _checked(a: NDArray, b: NDArray, metric: _Metric) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    for x, which in ((a, "first"), (b, "second")):
        if not isinstance(x, np.ndarray) or x.ndim != 2:
            given = getattr(x, "shape", type(x).__name__)
            raise DescriptorError(f"Descriptors are arrays of shape (N, D); the {which} set is {given}.")
    if a.shape[1] != b.shape[1]:
        raise DescriptorError(
            f"Descriptors of different kinds cannot be compared: {a.shape[1]} columns against {b.shape[1]}."
        )
    return metric.rows(a, "first"), metric.rows(b, "second")


# --- the search ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Near:
    """Best and second-best score of each of n descriptors; ``index`` is the best's, where it is known."""

    best: NDArray[np.float32]
    second: NDArray[np.float32]
    index: NDArray[np.int32]

    @classmethod
    def none(cls, n: int) -> _Near:
        return cls(np.full(n, -np.inf, np.float32), np.full(n, -np.inf, np.float32), np.zeros(n, np.int32))

    def merge(self, best: NDArray[np.float32], second: NDArray[np.float32], at: slice = slice(None)) -> None:
        """Take in the best and second-best of further candidates for the descriptors ``at``."""
        mine, runner_up = self.best[at], self.second[at]
        np.maximum(np.maximum(runner_up, second), np.minimum(mine, best), out=runner_up)
        np.maximum(mine, best, out=mine)


def _search(a: NDArray[np.float32], b: NDArray[np.float32], threads: int) -> tuple[_Near, _Near]:
    """Best two of b for each of a (with index), and best two of a for each of b (without)."""
    near = _Near.none(len(a))

    def work(stripes: Sequence[slice]) -> _Near:
        beside = _Near.none(len(b))
        memory = np.empty(TILE * TILE, np.float32)
        for stripe in stripes:
            _search_stripe(
                a[stripe], b, _Near(near.best[stripe], near.second[stripe], near.index[stripe]), beside, memory
            )
        return beside

    beside, *others = _spread(work, _shares(len(a), threads))
    for other in others:
        beside.merge(other.best, other.second)
    return near, beside


def _search_stripe(
    a: NDArray[np.float32], b: NDArray[np.float32], near: _Near, beside: _Near, memory: NDArray[np.float32]
) -> None:
    n = len(a)
    rows = np.arange(n)
    padded = -(-n // _GROUPS) * _GROUPS
    for start in range(0, len(b), TILE):
        at = slice(start, min(start + TILE, len(b)))
        scores = memory[: padded * (at.stop - start)].reshape(padded, -1)
        scores[n:] = -np.inf
        _product(a, b[at], scores[:n])
        beside.merge(*_two_best_of_columns(scores), at)
        index = scores[:n].argmax(1)
        best = scores[rows, index]
        better = best > near.best
        near.index[better] = index[better] + start
        scores[rows, index] = -np.inf
        near.merge(best, scores[:n].max(1))


def _two_best_of_columns(scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Best and second-best of each column of (R,C), R a multiple of _GROUPS, by plain maxima only.

    The rows are grouped in two ways, row = group * size + place: by group and by place. Two different rows
    differ in one of them, so in one of the two groupings the second-best row is the best of its own group.
    """
    cube = scores.reshape(_GROUPS, -1, scores.shape[1])
    best, second = _two_best(cube.max(0))
    _, also = _two_best(cube.max(1))
    return best, np.maximum(second, also)


def _two_best(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Best and second-best along the first axis of (R,C), as a knock-out: losers only compete for the second place."""
    second = np.full(x.shape[1], -np.inf, np.float32)
    while len(x) > 1:
        half = len(x) // 2
        rest = x[2 * half :]
        np.maximum(second, np.minimum(x[:half], x[half : 2 * half]).max(0), out=second)
        x = np.maximum(x[:half], x[half : 2 * half])
        if len(rest):
            x = np.concatenate([x, rest])
    return x[0], second


def _nearest_of_stripe(
    a: NDArray[np.float32], b: NDArray[np.float32], k: int, memory: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    index = np.empty((len(a), 0), np.int32)
    best = np.empty((len(a), 0), np.float32)
    for start in range(0, len(b), TILE):
        part = b[start : start + TILE]
        scores = memory[: len(a) * len(part)].reshape(len(a), len(part))
        _product(a, part, scores)
        found, values = _largest(scores, min(k, len(part)))
        index = np.concatenate([index, found + np.int32(start)], 1)
        best = np.concatenate([best, values], 1)
        # Earlier tiles stand first and a stable sort keeps them there: equals stay in the order of their indices.
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        index, best = np.take_along_axis(index, order, 1), np.take_along_axis(best, order, 1)
    return index, best


def _largest(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k largest of each row, equals in the order of their columns. Overwrites ``scores``."""
    if k <= _ARGMAX_PASSES:
        rows = np.arange(len(scores))
        found = np.empty((len(scores), k), np.int32)
        values = np.empty((len(scores), k), np.float32)
        for place in range(k):
            found[:, place] = scores.argmax(1)
            values[:, place] = scores[rows, found[:, place]]
            scores[rows, found[:, place]] = -np.inf
        return found, values
    width = scores.shape[1]
    found = np.sort(np.argpartition(scores, width - k, axis=1)[:, width - k :], axis=1).astype(np.int32)
    return found, np.take_along_axis(scores, found, 1)


# --- work on cores -------------------------------------------------------------------------------------------


def _shares(n: int, threads: int) -> list[list[slice]]:
    """Stripes of at most TILE rows of 0..n, dealt evenly to at most ``threads`` workers."""
    workers = max(1, min(threads, -(-n // _GROUPS)))
    stripes = -(-n // (workers * TILE)) * workers
    edges = np.linspace(0, n, stripes + 1).astype(int)
    every = [slice(int(low), int(high)) for low, high in pairwise(edges) if high > low]
    return [share for share in (every[worker::workers] for worker in range(workers)) if share]


def _spread(work: Callable[[Sequence[slice]], T], shares: list[list[slice]]) -> list[T]:
    if len(shares) == 1:
        return [work(shares[0])]
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(work, shares))


@cache
def _product_session() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(PRODUCT_MODEL, options, providers=["CPUExecutionProvider"])


def _product(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """out = a b^T, on the calling thread and without the GIL; all three contiguous float32."""
    session = _product_session()
    binding = session.io_binding()
    binding.bind_input("a", "cpu", 0, np.float32, a.shape, a.ctypes.data)
    binding.bind_input("b", "cpu", 0, np.float32, b.shape, b.ctypes.data)
    binding.bind_output("s", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    session.run_with_iobinding(binding)
