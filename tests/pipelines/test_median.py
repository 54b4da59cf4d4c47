"""The median, as numpy has it."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.median import median


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_median_is_numpys_to_the_last_bit(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(3, count))
    assert np.array_equal(median(values), np.median(values, axis=1))
    assert np.array_equal(median(values.T, axis=0), np.median(values.T, axis=0))
    assert median(list(values[0])) == np.median(values[0])
