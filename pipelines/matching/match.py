"""Features to matches: exact mutual nearest neighbours with a ratio test, pair by pair, kept on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

import descriptors
from descriptors.distances import Matches, mutual_matches
from descriptors.rerank import Described, RerankRule, rerank_matches
from pipelines.core.errors import ConfigError
from pipelines.core.progress import Progress
from pipelines.engine import cores, map_items
from pipelines.features.extract import FeatureFiles
from pipelines.store.files import fingerprint, read_arrays, write_arrays

_CODE = 4
_BLOCK = 32
"""Pairs are taken in blocks of 32 x 32 photos, so that loaded features are used many times."""
_CACHE_BYTES = 400 << 20


@dataclass(frozen=True)
class MatchConfig:
    """How descriptors are matched.

    Attributes:
        ratio: largest nearest / second-nearest distance ratio; None takes the descriptor's own, set from data.
    """

    ratio: float | None = None

    def __post_init__(self) -> None:
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ConfigError(
                f"A distance ratio of {self.ratio} is not possible", "it lies between 0 and 1", "--ratio 0.8"
            )


@dataclass(frozen=True)
class Candidates:
    """Mutual nearest neighbours of a pair of photos, the most distinctive first.

    Attributes:
        pairs: (M,2) int32 keypoint indices.
        distinct: how many of them, from the first on, pass the ratio test; the others wait for a geometry.
    """

    pairs: NDArray[np.int32]
    distinct: int

    @property
    def matches(self) -> NDArray[np.int32]:
        """(distinct,2) the matches proper: those that passed the ratio test."""
        return self.pairs[: self.distinct]


class DescriptorCache:
    """Descriptors of recently used photos, within a fixed number of bytes; shared by the matching threads."""

    def __init__(self, read: Callable[[int], NDArray], limit: int = _CACHE_BYTES) -> None:
        self._read = read
        self._limit = limit
        self._held: OrderedDict[int, NDArray] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __call__(self, index: int) -> NDArray:
        """(N,D) descriptors, or whatever is read, of photo ``index``."""
        with self._lock:
            if index in self._held:
                self._held.move_to_end(index)
                return self._held[index]
        loaded = self._read(index)
        with self._lock:
            if index not in self._held:
                self._held[index] = loaded
                self._bytes += loaded.nbytes
            while self._bytes > self._limit and len(self._held) > 2:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        return loaded


def blockwise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs in an order that uses loaded features many times."""
    return sorted(pairs, key=lambda pair: (pair[0] // _BLOCK, pair[1] // _BLOCK, pair))


def match_key(files: FeatureFiles, pair: tuple[int, int], rule: object) -> str:
    """Fingerprint of a pair's matches; ``rule`` is the ratio, or the rule of a metric network."""
    return fingerprint("matches", _CODE, files.keys[pair[0]], files.keys[pair[1]], rule)


def read_matches(folder: Path, key: str) -> Candidates | None:
    """Matches of a pair, or None if they have not been made."""
    arrays = read_arrays(folder / f"{key}.npz", ["pairs", "distinct"])
    return None if arrays is None else Candidates(arrays["pairs"], int(arrays["distinct"]))


def first_at_place(frames: NDArray[np.float32]) -> NDArray[np.int32]:
    """Index of the first keypoint at the place of each: DoG gives a point once for each of its orientations.

    Args:
        frames: (N,2,3).

    Returns:
        (N,) int32; keypoints with the same centre have the same value.
    """
    _, first, inverse = np.unique(frames[:, :, 2], axis=0, return_index=True, return_inverse=True)
    return first[inverse.reshape(-1)].astype(np.int32)


def one_per_place(found: Matches, places_a: NDArray[np.int32], places_b: NDArray[np.int32]) -> Matches:
    """Matches between places instead of keypoints: all orientations of a point are one point of the scene.

    Otherwise each would make a 3D point of its own, seen by few photos. Of the matches of a place the most
    distinctive is kept; that order is the result's.
    """
    pairs = np.column_stack([places_a[found.pairs[:, 0]], places_b[found.pairs[:, 1]]])
    order = np.lexsort([pairs[:, 1], pairs[:, 0], found.distances, found.ratios])
    for side in (0, 1):
        _, best = np.unique(pairs[order, side], return_index=True)
        order = order[np.sort(best)]
    return Matches(pairs[order], found.distances[order], found.ratios[order])


class Matcher:
    """What a descriptor, or a metric network, calls a match; loaded once.

    Attributes:
        scorer: the metric network, None for a descriptor.
        ratio: largest ratio of a match proper, infinite where there is no ratio test.
        rule: what decides beside the features, for fingerprints.
    """

    def __init__(self, name: str, config: MatchConfig) -> None:
        """Args: name: in the registry; config: see there.

        Raises:
            ConfigError: a ratio for a metric network.
        """
        self._spec, self.scorer = descriptors.spec(descriptors.shortlist(name)), descriptors.scorer_for(name)
        if self.scorer is None:
            limit = self._spec.ratio if config.ratio is None else config.ratio
            self.rule: float | RerankRule = limit
            self.ratio = limit if limit < 1 else np.inf
            return
        if config.ratio is not None:
            raise ConfigError(
                f"There is no distance ratio for {name}",
                "it is a metric network, whose matches are kept by their scores",
                "leave --ratio out",
            )
        self.rule, self.ratio = RerankRule.of(self.scorer.spec), np.inf

    def __call__(self, a: Described, b: Described, *, waiting: bool = False, threads: int = 1) -> Matches:
        """Matches of two photos, with ``waiting`` also those that a geometry may still confirm."""
        distance = self._spec.distance
        if isinstance(self.rule, RerankRule):
            assert self.scorer is not None, "a rule of reranking is a metric network's"
            return rerank_matches(self.scorer, a, b, self.rule, distance=distance, threads=threads)
        # A match waits up to half of the way from the descriptor's own ratio to none.
        limit = (1 + self.rule) / 2 if waiting else self.rule
        return mutual_matches(a.descriptors, b.descriptors, ratio=limit, distance=distance, threads=threads)


def match_pairs(
    files: FeatureFiles,
    pairs: Sequence[tuple[int, int]],
    descriptor: str,
    config: MatchConfig,
    folder: Path,
    *,
    progress: Progress,
) -> dict[tuple[int, int], str]:
    """Match every pair of photos; what is on disk already is not made again.

    Args:
        files: features, see :func:`pipelines.features.extract.extract_features`.
        pairs: photo indices (i, j).
        descriptor: registry name, of a descriptor for its metric and ratio, or of a metric network.
        folder: where the files go, one NPZ per pair, see :class:`Candidates`.

    Returns:
        Pair -> key of its file.
    """
    matcher = Matcher(descriptor, config)
    load = DescriptorCache(lambda index: files.load(index).descriptors)
    load_pair_features = DescriptorCache(files.load_pair_features)
    # A network keeps all cores busy by itself.
    workers, threads = (cores(), 1) if matcher.scorer is None else (1, cores())
    order = blockwise(pairs)

    def described(index: int) -> Described:
        return Described(load(index), None if matcher.scorer is None else load_pair_features(index))

    @lru_cache(maxsize=4 * _BLOCK)
    def places(index: int) -> NDArray[np.int32]:
        return first_at_place(files.load_frames(index))

    def one(pair: tuple[int, int]) -> str:
        key = match_key(files, pair, matcher.rule)
        if read_matches(folder, key) is None:
            found = matcher(described(pair[0]), described(pair[1]), waiting=True, threads=threads)
            kept = one_per_place(found, places(pair[0]), places(pair[1]))
            distinct = np.array(np.count_nonzero(kept.ratios < matcher.ratio))
            write_arrays(folder / f"{key}.npz", {"pairs": kept.pairs, "distinct": distinct})
        return key

    keys: dict[tuple[int, int], str] = {}
    with progress.stage("Matching", len(order)) as task:
        for pair, key in zip(order, map_items(one, order, workers=workers), strict=True):
            keys[pair] = key
            task.advance(note=f"{files.photos[pair[0]].name} – {files.photos[pair[1]].name}")
    return keys
