"""The median of numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def median(values: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Median along an axis, of one number at least and none that is NaN.

    It is ``numpy.median``, which at its first call loads ``numpy.ma``: 7 ms, of some 400 that two small photos
    take to a panorama.
    """
    array = np.asarray(values)
    last = array.shape[axis] - 1
    middle = [last // 2, (last + 1) // 2]
    return np.take(np.partition(array, middle, axis), middle, axis).mean(axis)
