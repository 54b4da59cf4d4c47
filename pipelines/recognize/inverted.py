"""Which of thousands of objects may be in a scene: an inverted file over visual words, with a signature per keypoint.

Sivic and Zisserman, Video Google, ICCV 2003; the signatures and their weights by Jegou, Douze and Schmid, Hamming
embedding and weak geometric consistency, ECCV 2008. A global vector of the scene would not do: an object covers a small
part of it. Words, projections and medians are learned from the objects, so any descriptor of the registry will do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from descriptors.distances import nearest
from pipelines.engine import cores
from pipelines.pairs.words import float_rows, spherical_k_means

_BITS = 64
_NEAR = 24
"""Bits of 64 that signatures of one thing may differ in (Jegou et al. take 22 to 24)."""
_SIGMA = 16.0
_SOFT = 3
"""Words that a scene's keypoint is looked up under."""
_TRAINING = 60_000
_ROUNDS = 6
_BLOCK = 512
"""Keypoints of the scene that are looked up at once."""


@dataclass(frozen=True)
class InvertedFile:
    """The keypoints of all objects, sorted by visual word.

    Attributes:
        words: (K,D) float32 of unit length.
        projection: (64,D) float32, what a descriptor's residual is multiplied with.
        medians: (K,64) float32, above which a bit is set.
        starts: (K+1,) int64, where each word's keypoints begin.
        signatures: (N,) uint64, sorted by word.
        owners: (N,) int32, the object of each keypoint.
        sizes: (O,) int32 keypoints of each object.
    """

    words: NDArray[np.float32]
    projection: NDArray[np.float32]
    medians: NDArray[np.float32]
    starts: NDArray[np.int64]
    signatures: NDArray[np.uint64]
    owners: NDArray[np.int32]
    sizes: NDArray[np.int32]

    def scores(self, descriptors: NDArray) -> NDArray[np.float64]:
        """(O,) how much each object has in common with a scene's descriptors (N,D); larger is more."""
        votes = np.zeros(len(self.sizes))
        rows = float_rows(descriptors)
        if not len(rows) or not len(self.words):
            return votes
        found, _ = nearest(rows, self.words, _SOFT, threads=cores())
        for at in range(0, len(rows), _BLOCK):
            part = slice(at, at + _BLOCK)
            for place in range(found.shape[1]):
                votes += self._votes(rows[part], found[part, place])
        return votes / np.sqrt(np.maximum(self.sizes, 1))

    def _votes(self, rows: NDArray[np.float32], word: NDArray) -> NDArray[np.float64]:
        mine = _signatures(rows, word, self.projection, self.medians)
        counts = self.starts[word + 1] - self.starts[word]
        asking = np.repeat(np.arange(len(rows)), counts)
        first = np.repeat(self.starts[word] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
        entry = first + np.arange(len(asking))
        apart = np.bitwise_count(mine[asking] ^ self.signatures[entry])
        near = apart <= _NEAR
        weight = np.exp(-((apart[near] / _SIGMA) ** 2)) * self._rarity[word[asking[near]]]
        return np.bincount(self.owners[entry[near]], weight, len(self.sizes)).astype(np.float64)

    @cached_property
    def _rarity(self) -> NDArray[np.float64]:
        """(K,) weight of each word: the fewer objects have it, the more it tells."""
        word = np.repeat(np.arange(len(self.words)), np.diff(self.starts))
        both = np.unique(word.astype(np.int64) * len(self.sizes) + self.owners)
        objects = np.bincount(both // len(self.sizes), minlength=len(self.words))
        return np.log(len(self.sizes) / np.maximum(objects, 1)) ** 2

    def arrays(self) -> dict[str, NDArray]:
        """Everything as arrays by name, to be written to disk."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> InvertedFile:
        """The index that :meth:`arrays` gave."""
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


def build_inverted(every: Iterable[NDArray], counts: Sequence[int], *, seed: int = 0) -> InvertedFile:
    """Learn the words from the objects' descriptors and file every keypoint.

    Args:
        every: per object, (N,D) floats of unit length or (N,D/8) bits; asked for one after the other.
        counts: N of each.
        seed: of the sample and the start of k-means.
    """
    random = np.random.default_rng(seed)
    data = _all_rows(every, sum(counts))
    owners = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    sample = data if len(data) <= _TRAINING else data[np.sort(random.choice(len(data), _TRAINING, replace=False))]
    words = _words(sample, random)
    projection = np.linalg.qr(random.standard_normal((max(_BITS, data.shape[1]),) * 2))[0][:_BITS, : data.shape[1]]
    projection = np.ascontiguousarray(projection, np.float32)
    word = nearest(data, words, 1, threads=cores())[0][:, 0] if len(data) else np.zeros(0, np.int32)
    order = np.argsort(word, kind="stable")
    starts = np.searchsorted(word[order], np.arange(len(words) + 1)).astype(np.int64)
    medians = np.zeros((len(words), _BITS), np.float32)
    for index in range(len(words)):
        members = order[starts[index] : starts[index + 1]]
        if len(members):
            medians[index] = np.median(data[members] @ projection.T, axis=0)
    signatures = _signatures(data, word, projection, medians)[order]
    return InvertedFile(words, projection, medians, starts, signatures, owners[order], np.array(counts, np.int32))


def _all_rows(every: Iterable[NDArray], total: int) -> NDArray[np.float32]:
    """(total,D) of all objects in one array, beside which there is one object's at a time."""
    data, at = np.zeros((0, 1), np.float32), 0
    for each in every:
        rows = float_rows(each)
        if not len(data):
            data = np.empty((total, rows.shape[1]), np.float32)
        data[at : at + len(rows)] = rows
        at += len(rows)
    return data


def _words(sample: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """k-means on the sphere; a word for about 30 descriptors of the sample, 2,048 at most."""
    count = min(2048, max(1, len(sample) // 30))
    if not len(sample):
        return np.zeros((0, sample.shape[1]), np.float32)
    return spherical_k_means(sample, sample[random.choice(len(sample), count, replace=False)], _ROUNDS)


def _signatures(
    rows: NDArray[np.float32], word: NDArray, projection: NDArray[np.float32], medians: NDArray[np.float32]
) -> NDArray[np.uint64]:
    """(N,) 64 bits: on which side of the word's medians each projected descriptor lies."""
    out = np.zeros(len(rows), np.uint64)
    for at in range(0, len(rows), 65536):
        part = slice(at, at + 65536)
        bits = rows[part] @ projection.T > medians[word[part]]
        out[part] = np.packbits(bits, axis=1, bitorder="little").view("<u8")[:, 0]
    return out
