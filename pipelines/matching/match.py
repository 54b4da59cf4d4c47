"""Features to matches, pair by pair, kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from descriptors.distances import Described, DescriptorSet
from pipelines.core.cache import ReadCache
from pipelines.core.maps import Camera, TwoView
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.engine import cores, map_items
from pipelines.features.extract import FeatureFiles
from pipelines.geometry.two_view import VerifyConfig, estimate_two_view
from pipelines.matching.candidates import Candidates, first_at_place, one_per_place
from pipelines.matching.matcher import MatchConfig, Matcher
from pipelines.store.files import fingerprint, read_arrays, write_arrays

if TYPE_CHECKING:
    from pipelines.matching.coarse import Prepared

_CODE = 7
_BLOCK = 32
"""Pairs are taken in blocks of 32 x 32 photos, so that loaded features are used many times."""


def get_ready() -> None:
    """Load what matching takes 0.4 s to load, in a thread that does so beside other work."""

    def load() -> None:
        with suppress(Exception):  # whatever is wrong, matching will say
            from descriptors.eight_bit import get_ready as load_search

            load_search()

    Thread(target=load).start()


def blockwise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs in an order that uses loaded features many times."""
    return sorted(pairs, key=lambda pair: (pair[0] // _BLOCK, pair[1] // _BLOCK, pair))


def read_matches(folder: Path, key: str) -> Candidates | None:
    """Matches of a pair, or None if they have not been made."""
    arrays = read_arrays(folder / f"{key}.npz", ["pairs", "distinct", "guided"])
    return None if arrays is None else Candidates(arrays["pairs"], int(arrays["distinct"]), bool(arrays["guided"]))


def _write_matches(folder: Path, key: str, found: Candidates) -> None:
    arrays = {"pairs": found.pairs, "distinct": np.array(found.distinct), "guided": np.array(found.guided)}
    write_arrays(folder / f"{key}.npz", arrays)


@dataclass(frozen=True)
class Geometries:
    """What tells the geometry of a pair, while it is being matched and afterwards.

    Attributes:
        cameras: intrinsics prior of each photo.
        config: thresholds.
        seed: RANSAC's.
    """

    cameras: Sequence[Camera]
    config: VerifyConfig
    seed: int


def match_pairs(
    files: FeatureFiles,
    pairs: Sequence[tuple[int, int]],
    descriptor: str,
    config: MatchConfig,
    geometries: Geometries,
    folder: Path,
    *,
    progress: Progress,
) -> dict[tuple[int, int], str]:
    """Match every pair of photos; what is on disk already is not made again.

    Args:
        files: features, see :func:`pipelines.features.extract.extract_features`.
        pairs: photo indices (i, j).
        descriptor: registry name, of a descriptor for its metric and ratio, or of a metric network.
        config: how.
        geometries: of the pairs, for matches along epipolar lines.
        folder: where the files go, one NPZ per pair, see :class:`Candidates`.

    Returns:
        Pair -> key of its file.
    """
    matcher = Matcher(descriptor, config)
    by_lines = matcher.scorer is None and config.first > 0
    match = _along_lines(files, matcher, config, geometries) if by_lines else _all_with_all(files, matcher)
    # A network keeps all cores busy by itself.
    workers = cores() if matcher.scorer is None else 1
    order = blockwise(pairs)

    def one(pair: tuple[int, int]) -> str:
        rule: tuple[object, ...] = (matcher.rule,)
        if by_lines:
            cameras = [geometries.cameras[index] for index in pair]
            rule += (config.first, cameras, geometries.config, geometries.seed)
        key = fingerprint("matches", _CODE, files.keys[pair[0]], files.keys[pair[1]], rule)
        if read_matches(folder, key) is None:
            _write_matches(folder, key, match(pair))
        return key

    keys: dict[tuple[int, int], str] = {}
    with progress.stage("Matching", len(order)) as task:
        for pair, key in zip(order, map_items(one, order, workers=workers), strict=True):
            keys[pair] = key
            task.advance(note=f"{files.photos[pair[0]].name} – {files.photos[pair[1]].name}")
    return keys


_Match = Callable[[tuple[int, int]], Candidates]


def _all_with_all(files: FeatureFiles, matcher: Matcher) -> _Match:
    """Every keypoint of a photo is compared with every one of the other."""
    load = ReadCache(lambda index: DescriptorSet(files.load(index).descriptors, matcher.distance))
    load_pair_features = ReadCache(files.load_pair_features)
    threads = 1 if matcher.scorer is None else cores()

    @lru_cache(maxsize=4 * _BLOCK)
    def places(index: int) -> NDArray[np.int32]:
        return first_at_place(files.load_frames(index))

    def described(index: int) -> Described:
        return Described(load(index), None if matcher.scorer is None else load_pair_features(index))

    def match(pair: tuple[int, int]) -> Candidates:
        found = matcher(described(pair[0]), described(pair[1]), waiting=True, threads=threads)
        return Candidates.of(one_per_place(found, places(pair[0]), places(pair[1])), matcher.ratio)

    return match


def _along_lines(files: FeatureFiles, matcher: Matcher, config: MatchConfig, geometries: Geometries) -> _Match:
    """The largest keypoints first, the others along the lines of their geometry; where a focal length is a guess, all
    with all."""
    from pipelines.matching.coarse import Rule, coarse_to_fine, prepare

    def read(index: int) -> Prepared:
        features = files.load(index)
        places = first_at_place(features.frames)
        return prepare(features.frames, features.descriptors, places, config.first, matcher.distance)

    prepared = ReadCache(read)
    all_with_all = _all_with_all(files, matcher)

    def match(pair: tuple[int, int]) -> Candidates:
        cameras = geometries.cameras[pair[0]], geometries.cameras[pair[1]]
        if any(camera.source == "guess" for camera in cameras):
            return all_with_all(pair)
        a, b = prepared(pair[0]), prepared(pair[1])

        def geometry(matches: NDArray[np.int32]) -> TwoView | None:
            return estimate_two_view(cameras, (a.xy, b.xy), matches, geometries.config, seed=geometries.seed)

        band = geometries.config.max_error * threshold_scale(*cameras)
        return coarse_to_fine(a, b, geometry, Rule(matcher.ratio, matcher.waiting, band, matcher.distance))

    return match
