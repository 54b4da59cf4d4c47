"""Visual words: descriptors as rows of unit length, and their codebook by k-means on the sphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from descriptors.distances import nearest
from pipelines.engine import cores


def unit_rows(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(…,D) rows of unit length; rows of zeros stay."""
    length = np.sqrt(np.einsum("...d,...d->...", x, x))[..., None]
    return (x / np.maximum(length, np.float32(1e-12))).astype(np.float32)


def float_rows(descriptors: NDArray) -> NDArray[np.float32]:
    """(N,D) float32 of unit length, of (N,D) floats or (N,D/8) packed bits, which count as +-1."""
    if descriptors.dtype == np.uint8:
        descriptors = np.unpackbits(descriptors, axis=1).astype(np.float32) * 2 - 1
    return unit_rows(np.asarray(descriptors, np.float32))


def sums_of_groups(
    rows: NDArray[np.float32], group: NDArray[np.int32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(count,D) sums of the rows (N,D) of each group, and which groups have rows."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    sums, used = np.zeros((count, rows.shape[1]), np.float32), np.zeros(count, bool)
    sums[present], used[present] = np.add.reduceat(rows[order], starts, axis=0), True
    return sums, used


def spherical_k_means(
    rows: NDArray[np.float32],
    words: NDArray[np.float32],
    rounds: int,
    *,
    restart: np.random.Generator | None = None,
) -> NDArray[np.float32]:
    """(K,D) words of unit length, each the direction of the mean of the rows (N,D) nearest to it.

    Args:
        rows: of unit length, K of them at least.
        words: (K,D) where to begin.
        rounds: of k-means.
        restart: chooses the row that a word begins anew from to which none belongs any more; without, it stays.
    """
    for _ in range(rounds):
        sums, used = sums_of_groups(rows, nearest(rows, words, 1, threads=cores())[0][:, 0], len(words))
        idle = words if restart is None else rows[restart.choice(len(rows), len(words), replace=False)]
        words = np.where(used[:, None], unit_rows(sums), idle)
    return words
