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
from typing import Any, TypeVar

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
    """Best and second-best score of each of n descriptors; ``index`` and ``rival`` are whose, where it is known."""

    best: NDArray[np.float32]
    second: NDArray[np.float32]
    index: NDArray[np.int32]
    rival: NDArray[np.int32]

    @classmethod
    def none(cls, n: int) -> Near:
        return cls(
            np.full(n, -np.inf, np.float32),
            np.full(n, -np.inf, np.float32),
            np.zeros(n, np.int32),
            np.zeros(n, np.int32),
        )

    def merge(self, best: NDArray[np.float32], second: NDArray[np.float32], at: slice = slice(None)) -> None:
        """Take in the best and second-best of further candidates for the descriptors ``at``."""
        mine, runner_up = self.best[at], self.second[at]
        np.maximum(np.maximum(runner_up, second), np.minimum(mine, best), out=runner_up)
        np.maximum(mine, best, out=mine)

    def take(
        self, best: NDArray[np.float32], second: NDArray[np.float32], index: NDArray[np.intp], rival: NDArray[np.intp]
    ) -> None:
        """As :meth:`merge`, for all descriptors, with the candidates' indices; the earlier of equals stays."""
        first = np.where(best > self.best, index, self.index)
        loser = np.where(best > self.best, self.index, index)
        self.rival[second > self.second] = rival[second > self.second]
        lost = np.minimum(best, self.best)
        beaten = lost > np.maximum(second, self.second)
        self.rival[beaten] = loser[beaten]
        self.index[:] = first
        self.merge(best, second)


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
                Near(near.best[stripe], near.second[stripe], near.index[stripe], near.rival[stripe]),
                beside,
                memory,
            )
        return beside

    beside, *others = _spread(work, _shares(len(a), threads))
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
        after = scores[:n].argmax(1)
        near.take(best, scores[rows, after], index + start, after + start)


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
        _spread(work, _shares(len(a), threads))
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


def _small_product(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """out = a b^T on the calling thread."""
    import cv2

    cv2.gemm(a, b, 1, None, 0, dst=out, flags=cv2.GEMM_2_T)  # type: ignore[call-overload]


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
