"""Unit vectors in few dimensions: nearly the same products."""

from __future__ import annotations

import numpy as np

from descriptors.subspace import principal


def test_products_change_by_what_was_left_out(rng) -> None:
    # 20 directions, and a hundredth of the variance in the others.
    rows = rng.standard_normal((900, 64)) * np.r_[np.ones(20), 0.07 * np.ones(44)] + 0.3
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    thin = principal(rows[:500], rows[500:])
    assert thin is not None and thin[0].shape == (500, 32) and thin[1].shape == (400, 32)
    assert np.abs(thin[0] @ thin[1].T - rows[:500] @ rows[500:].T).max() < 0.06


def test_where_every_direction_counts_there_is_no_subspace(rng) -> None:
    rows = rng.standard_normal((700, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert principal(rows, rows[:300]) is None
