"""The largest inner products between two sets of rows, without the N x M matrix.

Everything is done in tiles of 1,024 x 1,024 products (4 MB a thread), so that a tile is still in the cache when its
rows and columns are searched.

The products run in onnxruntime, whose float kernels use AVX-512 where numpy's OpenBLAS may not, and which
stays on the calling thread, so that callers may work on one pair per core (see ``threads``). Small ones, which would
not be worth the 0.1 s that its import takes, run in OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

TILE = 1024
_SMALL = 1_500_000
"""Products of a stripe up to which OpenCV takes as long: 1.6 ms for 1,000 x 1,000 of 128 dimensions. numpy would too,
but keeps both cores busy, waiting."""
# Rows of a tile are grouped twice into this many groups to find the two best per column (see _two_best_of_columns).
_GROUPS = 32
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
class Near:
    """Best and second-best score of each of n descriptors; ``index`` is whose the best is, where it is known."""

    best: NDArray[np.float32]
    second: NDArray[np.float32]
    index: NDArray[np.int32]

    @classmethod
    def none(cls, n: int) -> Near:
        return cls(
            np.full(n, -np.inf, np.float32),
            np.full(n, -np.inf, np.float32),
            np.zeros(n, np.int32),
        )

    def merge(self, best: NDArray[np.float32], second: NDArray[np.float32], at: slice = slice(None)) -> None:
        """Take in the best and second-best of further candidates for the descriptors ``at``."""
        take_in(self.best[at], self.second[at], best, second)


def take_in(first: NDArray, second: NDArray, best: NDArray, after: NDArray) -> None:
    """Take the best two of further candidates into the best two so far, place by place."""
    np.maximum(np.maximum(second, after), np.minimum(first, best), out=second)
    np.maximum(first, best, out=first)


class Mutual(NamedTuple):
    """Mutual nearest neighbours of two sets.

    Attributes:
        i, j: (K,) rows of the first set, ascending, and of the second; each at most once.
        products: (K,) float32 their inner products.
        rivals: (K,) float32 the larger product of the second-nearest of either side; -inf where no side has one.
    """

    i: NDArray[np.intp]
    j: NDArray[np.intp]
    products: NDArray[np.float32]
    rivals: NDArray[np.float32]


def mutual_nearest(a: NDArray[np.float32], b: NDArray[np.float32], threads: int) -> Mutual:
    """Rows of a (N,D) and b (M,D) that are each other's nearest; among equals the lowest indices."""
    near, beside = two_best(a, b, threads)
    # The same float was computed once for the row and for the column: equality means mutual.
    i = np.flatnonzero((near.best == beside.best[near.index]) & (near.best > -np.inf))
    _, first_use = np.unique(near.index[i], return_index=True)
    i = i[np.sort(first_use)]
    j = near.index[i].astype(np.intp)
    return Mutual(i, j, near.best[i], np.maximum(near.second[i], beside.second[j]))


def two_best(a: NDArray[np.float32], b: NDArray[np.float32], threads: int) -> tuple[Near, Near]:
    """Best two of b for each of a (with indices), and best two of a for each of b (without)."""
    near = Near.none(len(a))

    def work(stripes: Sequence[slice]) -> Near:
        beside = Near.none(len(b))
        memory = np.empty(TILE * TILE, np.float32)
        for stripe in stripes:
            _search_stripe(
                a[stripe],
                b,
                Near(near.best[stripe], near.second[stripe], near.index[stripe]),
                beside,
                memory,
            )
        return beside

    beside, *others = spread(work, shares(len(a), threads, TILE))
    for other in others:
        beside.merge(other.best, other.second)
    return near, beside


def _search_stripe(
    a: NDArray[np.float32], b: NDArray[np.float32], near: Near, beside: Near, memory: NDArray[np.float32]
) -> None:
    n = len(a)
    product = _small_product if n * len(b) <= _SMALL else _product
    rows = np.arange(n)
    padded = -(-n // _GROUPS) * _GROUPS
    for start in range(0, len(b), TILE):
        at = slice(start, min(start + TILE, len(b)))
        scores = memory[: padded * (at.stop - start)].reshape(padded, -1)
        scores[n:] = -np.inf
        product(a, b[at], scores[:n])
        beside.merge(*_two_best_of_columns(scores), at)
        index = scores[:n].argmax(1)
        best = scores[rows, index]
        scores[rows, index] = -np.inf
        near.index[:] = np.where(best > near.best, index + start, near.index)
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


def largest(
    a: NDArray[np.float32], b: NDArray[np.float32], k: int, threads: int = 1
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k largest products of each row of a (N,D) with rows of b (M,D), k at most M: indices and values (N,k).

    Equal ones come in the order of their indices; which of several equals fills the last place is not promised.
    """
    index, values = np.zeros((len(a), k), np.int32), np.zeros((len(a), k), np.float32)

    def work(stripes: Sequence[slice]) -> None:
        memory = np.empty(TILE * TILE, np.float32)
        for stripe in stripes:
            index[stripe], values[stripe] = _largest_of_stripe(a[stripe], b, k, memory)

    if len(a) and k:
        spread(work, shares(len(a), threads, TILE))
    return index, values


def _largest_of_stripe(
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


def shares(n: int, threads: int, rows: int) -> list[list[slice]]:
    """Stripes of at most ``rows`` rows of 0..n, dealt evenly to at most ``threads`` workers."""
    workers = max(1, min(threads, -(-n // _GROUPS)))
    stripes = -(-n // (workers * rows)) * workers
    edges = np.linspace(0, n, stripes + 1).astype(int)
    every = [slice(int(low), int(high)) for low, high in pairwise(edges) if high > low]
    return [share for share in (every[worker::workers] for worker in range(workers)) if share]


def spread(work: Callable[[Sequence[slice]], T], shares: list[list[slice]]) -> list[T]:
    if len(shares) == 1:
        return [work(shares[0])]
    with ThreadPoolExecutor(len(shares)) as pool:
        return list(pool.map(work, shares))


def _small_product(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """out = a b^T on the calling thread."""
    import cv2

    cv2.gemm(a, b, 1, None, 0, dst=out, flags=cv2.GEMM_2_T)  # type: ignore[call-overload]


@cache
def _session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Multiplier:
    """What a serialised model makes of matrices a and b, on the calling thread and without the GIL.

    A matrix is named to onnxruntime once, not at each call: naming takes Python a tenth of the time of a tile, and two
    threads that often ask for the GIL wait for each other longer than that. Matrices are contiguous, and kept alive and
    in place by the caller.
    """

    def __init__(self, model: bytes) -> None:
        """Nothing is named yet."""
        self._session = _session(model)
        self._binding = self._session.io_binding()

    def left(self, a: NDArray) -> None:
        """Name a."""
        self._binding.bind_input("a", "cpu", 0, a.dtype, a.shape, a.ctypes.data)

    def into(self, out: NDArray) -> None:
        """Name where the result goes."""
        self._binding.bind_output("s", "cpu", 0, out.dtype, out.shape, out.ctypes.data)

    def times(self, b: Any) -> None:
        """Make the result with b, which :func:`right` has named."""
        self._binding.bind_ortvalue_input("b", b)
        self._session.run_with_iobinding(self._binding)


def right(b: NDArray) -> Any:
    """Name b, for any number of multipliers."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(b)


def _product(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """out = a b^T."""
    multiplier = Multiplier(PRODUCT_MODEL)
    multiplier.left(a)
    multiplier.into(out)
    multiplier.times(right(b))
