"""Census costs of a plane sweep in one pass: strips of rows, all candidates and neighbours of a strip at a time.

Warping, signatures and their comparison stay in the processor's cache, signatures are made of bytes that it compares
thirty-two at a time. Source of the transform: Zabih and Woodfill, Non-parametric local transforms for computing visual
correspondence, ECCV 1994.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

UNSEEN = 110
"""Cost where no neighbour sees the place, of 255."""
_UP, _SIDE = 3, 4
_BITS = (2 * _UP + 1) * (2 * _SIDE + 1) - 1
_STRIP = 16

Source = tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]


def census_volume(
    gray: NDArray[np.uint8],
    sources: Sequence[Source],
    base: NDArray[np.float32],
    offsets: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Costs of the surface ``base`` shifted by each of the offsets.

    Args:
        gray: (H,W) uint8, the photo.
        sources: its neighbours: (h,w) uint8 picture, and A, b of :func:`pipelines.dense.project.transfer`.
        base: (H,W) inverse depth.
        offsets: (D,) added to it.

    Returns:
        (H,W,D) uint8: share of the 7 x 9 census signature that differs, of 255, mean over the better half of the
        neighbours that see the place.
    """
    height, width = gray.shape
    volume = np.empty((height, width, len(offsets)), np.uint8)
    signatures = np.empty((8, height, width), np.uint8)
    _signatures(np.pad(gray, ((_UP, _UP), (_SIDE, _SIDE)), mode="edge"), signatures)
    # Pictures of different sizes in one array, as the kernel wants them.
    sizes = np.array([picture.shape for picture, _, _ in sources], np.int64)
    stack = np.zeros((len(sources), *sizes.max(axis=0)), np.uint8)
    for place, (picture, _, _) in zip(stack, sources, strict=True):
        place[: picture.shape[0], : picture.shape[1]] = picture
    a = np.array([a for _, a, _ in sources], np.float32)
    b = np.array([b for _, _, b in sources], np.float32)
    _volume(signatures, stack, sizes, a, b, base, offsets.astype(np.float32), volume)
    return volume


# numba widens bytes to 64 bits in every sum; where it is told that the result is a byte again, the compiler does not.
@njit(cache=True)
def _set_bit(one, other, bit, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for x in range(out.shape[0]):
        out[x] = np.uint8(out[x] | np.uint8(bit * np.uint8(one[x] < other[x])))


@njit(cache=True)
def _signature_row(padded, row, byte, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Bits 8 byte … 8 byte + 7 of the signatures of one row; ``padded`` has the window's margin on all sides."""
    width = out.shape[0]
    middle = padded[row + _UP, _SIDE : _SIDE + width]
    out[:] = 0
    for bit in range(8):
        number = 8 * byte + bit
        if number >= _BITS:
            break
        if number >= _BITS // 2:
            number += 1
        start = number % (2 * _SIDE + 1)
        _set_bit(padded[row + number // (2 * _SIDE + 1), start : start + width], middle, np.uint8(1 << bit), out)


@njit(cache=True, parallel=True)
def _signatures(padded, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for y in prange(out.shape[1]):
        for byte in range(8):
            _signature_row(padded, y, byte, out[byte, y])


@njit(cache=True)
def _add_difference(first, second, total):  # type: ignore[no-untyped-def]  # pragma: no cover
    """Add the number of differing bits of two rows of bytes."""
    for x in range(total.shape[0]):
        value = np.uint8(first[x] ^ second[x])
        value = np.uint8(value - np.uint8(np.uint8(value >> np.uint8(1)) & np.uint8(0x55)))
        value = np.uint8(np.uint8(value & np.uint8(0x33)) + np.uint8(np.uint8(value >> np.uint8(2)) & np.uint8(0x33)))
        value = np.uint8(np.uint8(value + np.uint8(value >> np.uint8(4))) & np.uint8(0x0F))
        total[x] = np.uint8(total[x] + value)


@njit(cache=True, fastmath=True)
def _warp_row(picture, high, wide, a, b, inverse, y, offset, out, seen):  # type: ignore[no-untyped-def]  # pragma: no cover
    """One row of a neighbour as seen by way of the surface; beyond its border the picture repeats."""
    bottom, right = np.float32(high - 1), np.float32(wide - 1)
    row0 = a[0, 1] * np.float32(y) + a[0, 2]
    row1 = a[1, 1] * np.float32(y) + a[1, 2]
    row2 = a[2, 1] * np.float32(y) + a[2, 2]
    width = inverse.shape[0]
    for x in range(width):
        w = inverse[x] + offset
        column = np.float32(x)
        depth = a[2, 0] * column + row2 + b[2] * w
        scale = np.float32(1) / max(depth, np.float32(1e-6))
        u = (a[0, 0] * column + row0 + b[0] * w) * scale
        v = (a[1, 0] * column + row1 + b[1] * w) * scale
        seen[x] = (depth > np.float32(1e-6)) & (u >= 0) & (v >= 0) & (u <= right) & (v <= bottom)
        u = min(max(u, np.float32(0)), right)
        v = min(max(v, np.float32(0)), bottom)
        left, top = min(int(u), wide - 2), min(int(v), high - 2)
        s, t = u - np.float32(left), v - np.float32(top)
        one, two = np.float32(picture[top, left]), np.float32(picture[top, left + 1])
        three, four = np.float32(picture[top + 1, left]), np.float32(picture[top + 1, left + 1])
        above, below = one + (two - one) * s, three + (four - three) * s
        out[x + _SIDE] = np.uint8(int(above + (below - above) * t + np.float32(0.5)))
    for x in range(_SIDE):
        out[x] = out[_SIDE]
        out[width + _SIDE + x] = out[width + _SIDE - 1]


@njit(cache=True)
def _exchange(one, other):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The smaller of two rows of bytes into the first, the larger into the other."""
    for x in range(one.shape[0]):
        low, high = min(one[x], other[x]), max(one[x], other[x])
        one[x], other[x] = low, high


@njit(cache=True)
def _better_half(costs, seen, there, total, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The mean cost of the better half of the neighbours that see a place, of 255; sorts the costs."""
    count, width = costs.shape
    for x in range(width):
        there[x], total[x] = 0, 0
    for k in range(count):
        for x in range(width):
            costs[k, x] = costs[k, x] if seen[k, x] else np.uint8(255)
            there[x] = np.uint8(there[x] + np.uint8(seen[k, x]))
    for end in range(count - 1, 0, -1):
        for k in range(end):
            _exchange(costs[k], costs[k + 1])
    for k in range((count + 1) // 2):
        for x in range(width):
            taken = np.uint16(costs[k, x]) if 2 * k < there[x] else np.uint16(0)
            total[x] = np.uint16(total[x] + taken)
    for x in range(width):
        half = np.float32((there[x] + 1) // 2)
        level = np.float32(total[x]) * np.float32(255 / _BITS) / max(half, np.float32(1)) + np.float32(0.5)
        out[x] = np.uint8(int(level)) if there[x] > 0 else np.uint8(UNSEEN)


@njit(cache=True, parallel=True)
def _volume(signatures, pictures, sizes, a, b, base, offsets, volume):  # type: ignore[no-untyped-def]  # pragma: no cover
    height, width, candidates = volume.shape
    count = pictures.shape[0]
    for strip in prange((height + _STRIP - 1) // _STRIP):
        first, last = strip * _STRIP, min((strip + 1) * _STRIP, height)
        warped = np.empty((last - first + 2 * _UP, width + 2 * _SIDE), np.uint8)
        costs = np.empty((last - first, count, width), np.uint8)
        seen = np.empty((last - first, count, width), np.bool_)
        unused = np.empty(width, np.bool_)
        bits = np.empty(width, np.uint8)
        there, total = np.empty(width, np.uint8), np.empty(width, np.uint16)
        levels = np.empty(width, np.uint8)
        for number in range(candidates):
            for k in range(count):
                for row in range(first - _UP, last + _UP):
                    y = min(max(row, 0), height - 1)
                    target = seen[row - first, k] if first <= row < last else unused
                    out = warped[row - first + _UP]
                    _warp_row(
                        pictures[k], sizes[k, 0], sizes[k, 1], a[k], b[k], base[y], y, offsets[number], out, target
                    )
                for row in range(last - first):
                    differing = costs[row, k]
                    differing[:] = 0
                    for byte in range(8):
                        _signature_row(warped, row, byte, bits)
                        _add_difference(bits, signatures[byte, first + row], differing)
            for row in range(last - first):
                _better_half(costs[row], seen[row], there, total, levels)
                for x in range(width):
                    volume[first + row, x, number] = levels[x]
