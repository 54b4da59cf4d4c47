"""Mutual nearest neighbours of large sets: searched among products of 8-bit numbers, measured in full precision.

Processors multiply bytes several times as fast as floats, and then searching the products takes longer than making
them. So both sets are grouped by eights, of each group only the largest product is kept, and the best two groups of
each row and column are found by plain maxima; the products of those two are made once more to see whose they were.
Rounding moves the inner product of two unit vectors by about 0.001; the best two on each side are then compared anew in
full precision. COLMAP keeps SIFT in eight bits throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

from descriptors.tiles import Multiplier, Mutual, right, shares, spread, take_in

_ROWS, _COLUMNS = 512, 512
"""Of a tile: its products (1 MB) stay in the cache while they are searched."""
_GROUP = 8
"""Neighbouring rows of a set, of which the largest product stands for all."""
_BITS = 7
"""Of a product are free for the group's place in its tile."""
_LARGEST = 1 << 23
"""Product at most, so that 31 bits hold it with its sign and place."""
_OFFSET = 128
"""Added to one side: processors multiply unsigned by signed bytes."""
_FULL = 127
"""Largest number of that side."""
_HALF = 63
"""Of the other side: without VNNI two products are added in 16 bits, which 255 x 63 x 2 just fits."""
_INDEX = 0xFFFFFFFF
_EMPTY = np.iinfo(np.int32).min
_NONE = np.iinfo(np.int64).min

# A serialised ONNX model of one node, s = (a - 128) b (MatMulInteger, opset 13), as in descriptors.tiles.
PRODUCT_MODEL = (
    b'\x08\x08:v\n\x1b\n\x01a\n\x01b\n\x01o\x12\x01s"\rMatMulInteger\x12\x07product'
    b"*\t\x10\x02*\x02\x80\x01B\x01oZ\x15\n\x01a\x12\x10\n\x0e\x08\x02\x12\n\n\x03\x12\x01N\n\x03\x12\x01D"
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x03\x12\n\n\x03\x12\x01D\n\x03\x12\x01M"
    b"b\x15\n\x01s\x12\x10\n\x0e\x08\x06\x12\n\n\x03\x12\x01N\n\x03\x12\x01MB\x04\n\x00\x10\r"
)


@dataclass(frozen=True)
class Rounded:
    """A set as integers, for either side of a product: scaled as far as products fit, whatever the other set is.

    Attributes:
        rows: (N,D) float32 of unit length, of zeros, or of +-1.
    """

    rows: NDArray[np.float32]

    @cached_property
    def left(self) -> NDArray[np.uint8]:
        """(N,D) the rounded rows and _OFFSET."""
        return _rounded(self.rows, _FULL).view(np.uint8) ^ np.uint8(_OFFSET)

    @property
    def signed(self) -> NDArray[np.int8]:
        """What ``left`` stands for."""
        return (self.left ^ np.uint8(_OFFSET)).view(np.int8)

    @cached_property
    def right(self) -> NDArray[np.int8]:
        """(N,D) of half as many steps."""
        return _rounded(self.rows, _HALF)


def get_ready() -> None:
    """Load what the first search would have to load: 0.3 s, in which other threads can go on outside of Python."""
    rows = np.eye(_GROUP, dtype=np.float32)
    mutual_nearest(Rounded(rows), Rounded(rows), 1)


def mutual_nearest(first: Rounded, second: Rounded, threads: int) -> Mutual:
    """Rows of one set (N,D) and another (M,D) that are each other's nearest by 8-bit products, with exact products.

    Args:
        first, second: the sets.
        threads: cores to use.
    """
    a, b, given, others = first.rows, second.rows, first.left, second.right
    tiles = [_tile(others[start : start + _COLUMNS]) for start in range(0, len(b), _COLUMNS)]
    named = [right(tile) for tile in tiles]
    near = np.full((2, len(a)), _NONE)

    def work(stripes: Sequence[slice]) -> NDArray[np.int64]:
        beside = np.full((2, len(b)), _NONE)
        memory = np.empty(_ROWS * _COLUMNS, np.int32)
        multiplier = Multiplier(PRODUCT_MODEL)
        for stripe in stripes:
            rows = given[stripe.start * _GROUP : stripe.stop * _GROUP]
            multiplier.left(rows)
            width = 0
            for number, (tile, name) in enumerate(zip(tiles, named, strict=True)):
                if width != tile.shape[1]:  # the first one's, and the last one's
                    width = tile.shape[1]
                    products = memory[: (stripe.stop - stripe.start) * _GROUP * width].reshape(-1, width)
                    products[len(rows) :] = _EMPTY
                    multiplier.into(products[: len(rows)])
                multiplier.times(name)
                if number == len(tiles) - 1:
                    _leave_out(products, len(b) - number * _COLUMNS)
                _fold(products, near, beside, stripe.start * _GROUP, number * _COLUMNS)
        return beside

    groups = -(-len(a) // _GROUP)
    beside, *more = spread(work, shares(groups, threads, _ROWS // _GROUP))
    for other in more:
        take_in(beside[0], beside[1], other[0], other[1])
    mine = first.signed
    best, rival = _members(mine, others, near)
    back, rival_back = _members(others, mine, beside)
    i = np.flatnonzero(back[best] == np.arange(len(a)))
    j = best[i]
    return Mutual(
        i, j, _products(a, i, b, j), np.maximum(_products(a, i, b, rival[i]), _products(a, rival_back[j], b, j))
    )


def _rounded(rows: NDArray[np.float32], steps: int) -> NDArray[np.int8]:
    """Rows as integers of at most ``steps``, and no longer than their side's part of what a product may be."""
    scale = steps / max(float(np.abs(rows).max(initial=0)), 1e-6)
    length = float(np.sqrt(np.einsum("nd,nd->n", rows, rows).max(initial=0)))
    # Half a step a number may be added to the length by rounding.
    longest = np.sqrt(_LARGEST / (_FULL * _HALF)) * steps - 0.5 * np.sqrt(rows.shape[1])
    scale = min(scale, longest / max(length, 1e-6))
    return np.rint(rows * np.float32(scale)).astype(np.int8)


def _tile(rows: NDArray[np.int8]) -> NDArray[np.int8]:
    """Rows (M,D) as a tile (D,M'), M' a multiple of eight: first the first of each group, then the second of each."""
    groups = -(-len(rows) // _GROUP)
    padded = np.zeros((groups * _GROUP, rows.shape[1]), np.int8)
    padded[: len(rows)] = rows
    return np.ascontiguousarray(padded.reshape(groups, _GROUP, -1).transpose(2, 1, 0).reshape(rows.shape[1], -1))


def _leave_out(products: NDArray[np.int32], columns: int) -> None:
    """Blot out what a tile's last group has beyond the ``columns`` rows that there are."""
    groups = products.shape[1] // _GROUP
    products[:, groups * (columns - (groups - 1) * _GROUP) + groups - 1 :: groups] = _EMPTY


def _products(
    a: NDArray[np.float32], i: NDArray[np.intp], b: NDArray[np.float32], j: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Inner products of rows i of a with rows j of b; -inf for no row, which is -1."""
    return np.where((i < 0) | (j < 0), np.float32(-np.inf), np.einsum("nd,nd->n", a[i], b[j]))


@njit(cache=True, nogil=True)
def _largest(products, largest):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Of each column of (8,C): one loop over nine arrays, which compilers make wide."""
    one, two, three, four = products[0], products[1], products[2], products[3]
    five, six, seven, eight = products[4], products[5], products[6], products[7]
    for c in range(largest.shape[0]):
        left = max(max(one[c], two[c]), max(three[c], four[c]))
        right = max(max(five[c], six[c]), max(seven[c], eight[c]))
        largest[c] = max(left, right)


@njit(cache=True, nogil=True)
def _fold(products, near, beside, row, column):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a tile of products, whose corner is at (row, column), into the best two groups of its rows and columns.

    A key is a product, and below it how far its group is from the tile's last: of equals the earlier is the larger.
    """
    height, width = products.shape
    lanes, blocks = width // _GROUP, height // _GROUP
    largest, keys = np.empty(width, np.int32), np.empty(lanes, np.int32)
    above, after = np.full(width, _EMPTY, np.int32), np.full(width, _EMPTY, np.int32)
    last = column // _GROUP + lanes - 1
    for block in range(blocks):
        _largest(products[_GROUP * block : _GROUP * block + _GROUP], largest)
        place = np.int32(blocks - 1 - block)
        for c in range(width):
            key = np.int32(np.int32(largest[c] << np.int32(_BITS)) | place)
            after[c] = max(after[c], min(above[c], key))
            above[c] = max(above[c], key)
        for r in range(_GROUP * block, min(_GROUP * block + _GROUP, near.shape[1] - row)):
            _largest(products[r].reshape(_GROUP, lanes), largest[:lanes])
            best, rival = np.int32(_EMPTY), np.int32(_EMPTY)
            for c in range(lanes):
                keys[c] = np.int32(largest[c] << np.int32(_BITS)) | np.int32(lanes - 1 - c)
                best = max(best, keys[c])
            for c in range(lanes):
                rival = max(rival, keys[c] if keys[c] < best else np.int32(_EMPTY))
            _merge(near, row + r, best, rival, last)
    for group in range(lanes):
        for member in range(min(_GROUP, beside.shape[1] - column - _GROUP * group)):
            at = member * lanes + group
            _merge(beside, column + _GROUP * group + member, above[at], after[at], row // _GROUP + blocks - 1)


@njit(cache=True, nogil=True)
def _merge(found, at, best, rival, end):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Take a tile's best two groups into those of one row or column; ``end``: index of the tile's last group."""
    one, two = _key(best, end), _key(rival, end)
    found[1, at] = max(found[1, at], min(found[0, at], one), two)
    found[0, at] = max(found[0, at], one)


@njit(cache=True, nogil=True)
def _key(key, end):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Product above, what is left to the largest index below."""
    if key < _EMPTY + (1 << _BITS):
        return np.int64(_NONE)
    index = end - (key & ((1 << _BITS) - 1))
    return (np.int64(key >> _BITS) << 32) | np.int64(_INDEX - index)


@njit(cache=True, nogil=True)
def _members(rows, others, found):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Which others (M,D) have the best and the second-best product with each row (N,D), of its two groups (2,N) found.

    Returns: best, second (N,) int64; -1 without one.
    """
    first, second = np.full(len(rows), -1), np.full(len(rows), -1)
    for r in range(len(rows)):
        best, rival = np.int64(_NONE), np.int64(_NONE)
        for key in found[:, r]:
            if key == _NONE:
                continue
            start = _GROUP * (_INDEX - (key & _INDEX))
            for other in range(start, min(start + _GROUP, len(others))):
                product = np.int64(0)
                for d in range(rows.shape[1]):
                    product += np.int32(rows[r, d]) * np.int32(others[other, d])
                if product > best:
                    second[r], rival = first[r], best
                    first[r], best = other, product
                elif product > rival:
                    second[r], rival = other, product
    return first, second
