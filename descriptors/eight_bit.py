"""Mutual nearest neighbours of large sets: searched among products of 8-bit numbers, measured in full precision.

Processors multiply bytes several times as fast as floats, and an integer has room for the index of the row it came
from, so that one pass of plain maxima over a tile of products finds the best two of its rows and of its columns.
Rounding moves the inner product of two unit vectors by about 0.001; the best two on each side are then compared anew in
full precision. COLMAP keeps SIFT in eight bits throughout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from descriptors.tiles import Mutual, multiply, shares, spread, take_in

_ROWS, _COLUMNS = 512, 1024
"""Of a tile: its products (2 MB) stay in the cache while they are searched."""
_BITS = 10
"""Of a product are free for the place in its tile."""
_LARGEST = 1 << 20
"""Product at most, so that 31 bits hold it with its sign and place."""
_OFFSET = 128
"""Added to one side: processors multiply unsigned by signed bytes."""
_HALF = 63
"""Largest number of the other side: without VNNI two products are added in 16 bits, which 255 x 63 x 2 just fits."""
_INDEX = 0xFFFFFFFF
_NONE = np.iinfo(np.int64).min

# A serialised ONNX model of one node, s = (a - 128) b (MatMulInteger, opset 13), as in descriptors.tiles.
PRODUCT_MODEL = (
    b'\x08\x08:v\n\x1b\n\x01a\n\x01b\n\x01o\x12\x01s"\rMatMulInteger\x12\x07product'
    b"*\t\x10\x02*\x02\x80\x01B\x01oZ\x15\n\x01a\x12\x10\n\x0e\x08\x02\x12\n\n\x03\x12\x01N\n\x03\x12\x01D"
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x03\x12\n\n\x03\x12\x01D\n\x03\x12\x01M"
    b"b\x15\n\x01s\x12\x10\n\x0e\x08\x06\x12\n\n\x03\x12\x01N\n\x03\x12\x01MB\x04\n\x00\x10\r"
)


def mutual_nearest(a: NDArray[np.float32], b: NDArray[np.float32], threads: int) -> Mutual:
    """Rows of a (N,D) and b (M,D) that are each other's nearest by 8-bit products, with exact products.

    Args:
        a, b: rows of unit length, rows of zeros, or of +-1.
        threads: cores to use.
    """
    given, others = _rounded(a, b)
    tiles = [np.ascontiguousarray(others[start : start + _COLUMNS].T) for start in range(0, len(b), _COLUMNS)]
    near = np.full((2, len(a)), _NONE)

    def work(stripes: Sequence[slice]) -> NDArray[np.int64]:
        beside = np.full((2, len(b)), _NONE)
        memory = np.empty(_ROWS * _COLUMNS, np.int32)
        keys = np.empty((4, _COLUMNS), np.int32)
        for stripe in stripes:
            for number, tile in enumerate(tiles):
                products = memory[: (stripe.stop - stripe.start) * tile.shape[1]].reshape(-1, tile.shape[1])
                multiply(PRODUCT_MODEL, given[stripe], tile, products)
                corner = stripe.start, number * _COLUMNS
                _fold(products, keys, near[0], near[1], beside[0], beside[1], *corner)
        return beside

    beside, *more = spread(work, shares(len(a), threads, _ROWS))
    for other in more:
        take_in(beside[0], beside[1], other[0], other[1])
    (best, rival), (back, rival_back) = _indices(near), _indices(beside)
    i = np.flatnonzero(back[best] == np.arange(len(a)))
    j = best[i]
    return Mutual(
        i, j, _products(a, i, b, j), np.maximum(_products(a, i, b, rival[i]), _products(a, rival_back[j], b, j))
    )


def _rounded(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Both sets as integers, a with the offset; scaled as far as the sum of their products fits."""
    scales = [steps / max(float(np.abs(rows).max()), 1e-6) for steps, rows in ((127, a), (_HALF, b))]
    lengths = [float(np.sqrt(np.einsum("nd,nd->n", rows, rows).max())) for rows in (a, b)]
    # Half a step a number may be added to each of the lengths by rounding.
    largest = [length * scale + 0.5 * np.sqrt(a.shape[1]) for length, scale in zip(lengths, scales, strict=True)]
    shrink = min(1.0, float(np.sqrt(_LARGEST / (largest[0] * largest[1]))))
    mine, other = (np.rint(rows * np.float32(shrink * scale)) for rows, scale in zip((a, b), scales, strict=True))
    return (mine + _OFFSET).astype(np.uint8), other.astype(np.int8)


def _indices(keys: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Whose the best and the second-best product is; -1 without one."""
    first, second = np.where(keys == _NONE, -1, _INDEX - (keys & _INDEX)).astype(np.intp)
    return first, second


def _products(
    a: NDArray[np.float32], i: NDArray[np.intp], b: NDArray[np.float32], j: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Inner products of rows i of a with rows j of b; -inf for no row, which is -1."""
    return np.where((i < 0) | (j < 0), np.float32(-np.inf), np.einsum("nd,nd->n", a[i], b[j]))


@njit(cache=True, nogil=True)
def _take(products, places, first, second):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Best and second-best keys so far, place by place: one loop over four arrays, which compilers make wide."""
    for c in range(products.shape[0]):
        key = np.int32(np.int32(products[c] << np.int32(_BITS)) | places[c])
        best = first[c]
        second[c] = max(second[c], min(best, key))
        first[c] = max(best, key)


@njit(cache=True, nogil=True)
def _fold(products, keys, first, second, first_beside, second_beside, row, column):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a tile of products, whose corner is at (row, column), into the best two of its rows and of its columns.

    A key is the product, and below it how far its place is from the end: of equals the earlier is the larger.
    """
    lanes = 128
    empty = np.int32(-(2**31))
    height, width = products.shape
    places, constant, above, after = keys[0, :width], keys[1, :width], keys[2, :width], keys[3, :width]
    across, behind = np.empty(lanes, np.int32), np.empty(lanes, np.int32)
    for c in range(width):
        places[c] = width - 1 - c
    above[:], after[:] = empty, empty
    for r in range(height):
        across[:], behind[:] = empty, empty
        for start in range(0, width, lanes):
            stop = min(start + lanes, width)
            _take(products[r, start:stop], places[start:stop], across, behind)
        best, rival = empty, empty
        for lane in range(lanes):
            rival = max(rival, min(best, across[lane]), behind[lane])
            best = max(best, across[lane])
        _merge(first, second, row + r, best, rival, column + width - 1)
        constant[:] = height - 1 - r
        _take(products[r], constant, above, after)
    for c in range(width):
        _merge(first_beside, second_beside, column + c, above[c], after[c], row + height - 1)


@njit(cache=True, nogil=True)
def _merge(first, second, at, best, rival, end):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a tile's best two into those of one row or column; ``end``: index of the tile's last place."""
    one, two = _key(best, end), _key(rival, end)
    second[at] = max(second[at], min(first[at], one), two)
    first[at] = max(first[at], one)


@njit(cache=True, nogil=True)
def _key(key, end):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Product above, what is left to the largest index below."""
    if key == -(2**31):
        return np.int64(_NONE)
    index = end - (key & ((1 << _BITS) - 1))
    return (np.int64(key >> _BITS) << 32) | np.int64(_INDEX - index)
