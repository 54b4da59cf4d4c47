"""Pairs of photos to what is known of the set before mapping: which of them show the same, and by which matches."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from pipelines.core.clock import timed
from pipelines.core.maps import Camera
from pipelines.core.progress import Progress
from pipelines.features.extract import FeatureFiles
from pipelines.geometry.verify import verify_pairs
from pipelines.matching.match import Geometries, match_pairs, read_matches
from pipelines.sfm.config import SfmConfig
from pipelines.sfm.why import MatchGraph, Pair
from pipelines.store.folder import MapFolder


def match_photos(
    folder: MapFolder,
    files: FeatureFiles,
    pairs: Sequence[Pair],
    cameras: Sequence[Camera],
    config: SfmConfig,
    seconds: MutableMapping[str, float],
    progress: Progress,
) -> tuple[MatchGraph, dict[Pair, str]]:
    """Match pairs and verify them; what stands in the map's folder is used again.

    Args:
        cameras: intrinsics prior of each photo.
        seconds: of the stages, added to.

    Returns:
        The graph, and pair -> key of its raw matches.
    """
    geometries, descriptor = Geometries(cameras, config.verification, config.seed), config.features.descriptor
    with timed(seconds, "Matching"):
        keys = match_pairs(files, pairs, descriptor, config.matching, geometries, folder.matches, progress=progress)
    with timed(seconds, "Verification"):
        views = verify_pairs(files, keys, geometries, folder.matches, progress=progress)
    raw: dict[Pair, int] = {}
    for pair, key in sorted(keys.items()):
        found = read_matches(folder.matches, key)
        raw[pair] = 0 if found is None else found.distinct
    return MatchGraph(tuple(photo.name for photo in files.photos), files.counts, raw, views), keys
