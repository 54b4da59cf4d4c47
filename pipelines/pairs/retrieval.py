"""Which photos look alike: one vector per photo, pooled from its local descriptors, and exact search over them.

The vector is VLAD (Jegou et al., Aggregating local descriptors into a compact image representation, CVPR 2010) over
64 words: residuals of unit length (Delhumeau et al., Revisiting the VLAD image representation, ACM MM 2013), each
word's sum of unit length (Arandjelovic and Zisserman, All about VLAD, CVPR 2013), signed square root, then the mean of
the photos removed and their 128 principal axes kept. Words, mean and axes are learned from the photos themselves, so
any descriptor of the registry will do. Removing the mean matters most: it takes away what all photos have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from descriptors.distances import nearest
from pipelines.core.progress import Progress, Silent
from pipelines.core.types import Features
from pipelines.engine import cores, map_items
from pipelines.pairs.words import float_rows, spherical_k_means, sums_of_groups, unit_rows

WORDS = 64
AXES = 128
# The strongest features of a photo; more cost time and do not tell more.
_FEATURES = 4096
# Photos from which words, mean and axes are learned, and descriptors taken of each: 32 MB and 50 MB at most.
_TEACHERS = 1000
_TRAINING = 100_000
_ROUNDS = 12
# Vectors that a query is compared with at once: 32 MB in single precision.
_BLOCK = 1 << 16

LoadFeatures = Callable[[int], Features]


@dataclass(frozen=True)
class RetrievalIndex:
    """What is needed to find the photos of a set that look like a given one.

    Attributes:
        words: (K,D) float32, unit length: the codebook; D floats, or bits for binary descriptors.
        mean: (K*D,) float32 mean of the photos' raw vectors.
        axes: (A,K*D) float32 principal axes, A <= 128.
        vectors: (N,A) float32 or float16 of unit length, one per photo, in the order of the photos.
    """

    words: NDArray[np.float32]
    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    vectors: NDArray[np.floating]

    def describe(self, features: Features) -> NDArray[np.float32]:
        """(A,) vector of one photo; zeros if it has no features."""
        return _project(_pool(features, self.words)[None], self.mean, self.axes)[0]

    def query(self, vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The k most similar photos for each vector (Q,A): indices (Q, min(k,N)) and L2 distances, nearest first.

        Beside the index and the answer it takes 32 MB, whatever N is: the vectors are compared in blocks.
        """
        count = min(k, len(self.vectors))
        best = np.empty((len(vectors), 0), np.int32), np.empty((len(vectors), 0), np.float32)
        for start in range(0, len(self.vectors), _BLOCK):
            block = np.asarray(self.vectors[start : start + _BLOCK], np.float32)
            found, distance = nearest(vectors, block, k, threads=cores())
            indices = np.concatenate([best[0], found + np.int32(start)], axis=1)
            distances = np.concatenate([best[1], distance], axis=1)
            order = np.argsort(distances, axis=1, kind="stable")[:, :count]
            best = np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)
        return best

    def compact(self) -> RetrievalIndex:
        """The same with vectors in half precision: 256 bytes a photo, their error far below what tells photos apart."""
        return replace(self, vectors=self.vectors.astype(np.float16))

    def arrays(self) -> dict[str, NDArray]:
        """Everything as arrays by name, to be written to disk."""
        return {"words": self.words, "mean": self.mean, "axes": self.axes, "vectors": self.vectors}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> RetrievalIndex:
        """The index that :meth:`arrays` gave."""
        words, mean, axes = (np.asarray(arrays[name], np.float32) for name in ("words", "mean", "axes"))
        return cls(words, mean, axes, np.asarray(arrays["vectors"]))


def build_index(count: int, load: LoadFeatures, *, seed: int = 0, progress: Progress | None = None) -> RetrievalIndex:
    """Learn the codebook and axes from the photos, and describe every photo.

    Memory does not grow with the photos but for the 512 bytes of each one's vector. The same photos, features and
    seed give the same index.

    Args:
        count: number of photos.
        load: features of photo 0 ... count - 1, e.g. from disk; called from several threads.
        seed: of the sample of descriptors and the start of k-means.
        progress: told of every photo described.
    """
    rng = np.random.default_rng(seed)
    teachers = np.unique(np.linspace(0, max(count - 1, 0), min(count, _TEACHERS)).astype(int)).tolist()
    words = _learn_words(teachers, load, rng)
    with (progress or Silent()).stage("Retrieval", count) as task:

        def pooled(indices: list[int]) -> Iterator[NDArray[np.float32]]:
            for vector in map_items(lambda index: _pool(load(index), words), indices):
                task.advance(1)
                yield vector

        taught = np.array(list(pooled(teachers)), np.float32).reshape(len(teachers), words.size)
        mean, axes = _principal_axes(taught)
        vectors = np.zeros((count, len(axes)), np.float32)
        vectors[teachers] = _project(taught, mean, axes)
        del taught
        others = np.setdiff1d(np.arange(count), teachers).tolist()
        for index, vector in zip(others, pooled(others), strict=True):
            vectors[index] = _project(vector[None], mean, axes)[0]
    return RetrievalIndex(words, mean, axes, vectors)


def similar_pairs(index: RetrievalIndex, k: int, of: NDArray | None = None) -> set[tuple[int, int]]:
    """Pairs (i, j), i < j, of photos with their k most similar others.

    Args:
        of: the photos that look for others; all by default.
    """
    asking = np.arange(len(index.vectors)) if of is None else np.asarray(of)
    found = index.query(index.vectors[asking], k + 1)[0]
    pairs = set()
    for photo, row in zip(asking.tolist(), found.tolist(), strict=True):
        others = [other for other in row if other != photo][:k]
        pairs |= {(min(photo, other), max(photo, other)) for other in others}
    return pairs


# --- pooling -------------------------------------------------------------------------------------------------


def _rows(features: Features) -> NDArray[np.float32]:
    """(n,D) float32 of unit length: the strongest features, bits as +-1."""
    described = features.descriptors
    if len(described) > _FEATURES:
        described = described[np.argsort(-features.scores, kind="stable")[:_FEATURES]]
    return float_rows(described)


def _pool(features: Features, words: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K*D,) float32 of unit length, or zeros without features: VLAD before mean and axes."""
    rows = _rows(features)
    if not len(rows) or not words.size:
        return np.zeros(words.size, np.float32)
    word = nearest(rows, words, 1)[0][:, 0]
    sums = unit_rows(sums_of_groups(unit_rows(rows - words[word]), word, len(words))[0]).ravel()
    return unit_rows(np.copysign(np.sqrt(np.abs(sums)), sums))


def _project(pooled: NDArray[np.float32], mean: NDArray[np.float32], axes: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = unit_rows(np.asarray((pooled - mean) @ axes.T, np.float32))
    vectors[~pooled.any(1)] = 0
    return vectors


# --- learning ------------------------------------------------------------------------------------------------


def _learn_words(teachers: list[int], load: LoadFeatures, rng: np.random.Generator) -> NDArray[np.float32]:
    """(K,D) codebook by k-means on the sphere, over the same number of descriptors of each photo."""
    share = -(-_TRAINING // max(len(teachers), 1))
    seeds = rng.integers(0, 2**63, len(teachers))

    def sample(item: tuple[int, int]) -> NDArray[np.float32]:
        rows = _rows(load(item[0]))
        if len(rows) <= share:
            return rows
        return rows[np.random.default_rng(item[1]).choice(len(rows), share, replace=False)]

    samples = [rows for rows in map_items(sample, zip(teachers, seeds.tolist(), strict=True)) if len(rows)]
    if not samples:
        return np.zeros((0, 0), np.float32)
    data = np.concatenate(samples)
    count = min(WORDS, len(data))
    begin = data[rng.choice(len(data), count, replace=False)]
    return spherical_k_means(data, begin, _ROUNDS, restart=rng)


def _principal_axes(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (V,) and at most AXES principal axes (A,V), by the small side's Gram matrix."""
    described = vectors[vectors.any(1)]
    if len(described) < 2:
        return np.zeros(vectors.shape[1], np.float32), np.eye(min(AXES, vectors.shape[1]), vectors.shape[1], dtype="f4")
    mean = described.mean(0)
    centred = described - mean
    values, sides = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    kept = np.flatnonzero(values > max(values[-1], 1e-30) * 1e-6)[::-1][:AXES]
    axes = unit_rows((sides[:, kept].T @ centred).astype(np.float32))
    return mean, axes
