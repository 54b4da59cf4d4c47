"""The board "Scenes as Brown": patch pairs of the validation scenes, made hard enough to tell methods apart.

One pair a point: the two views of its track that look from farthest apart. The patch of the second view is jittered,
at three levels, as HPatches does it: all levels keep what the detector itself got wrong. Then, in each scene,

- **FPR95 and ROC** over pairs of one point against as many random pairs of different points (Brown's protocol);
- **FPR95, nearest negatives**: each first view against the nearest second view of another point of its scene: the
  false match that a matcher would make;
- **mAP of the second-nearest ratio**, as "Brown PhotoTour revisited" scores it.

A group's figure is over all its pairs (mAP: the mean of its scenes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from descriptors.benchmarks import scores
from descriptors.benchmarks.pairs import roc_curve, snn_precision
from descriptors.benchmarks.results import (
    Board,
    Contestant,
    Curve,
    Listener,
    Nobody,
    Score,
    Store,
    digest,
    file_digest,
)
from descriptors.datasets.hpatches import JITTER
from descriptors.datasets.scenes import DataError, load_scene, scene_folders
from descriptors.datasets.tracks import PatchCutter, Tracks
from descriptors.training.augment import Jitter, jitter_frames
from descriptors.training.sampling import distinct, farthest_pairs

NAME = "scenes"
GROUPS: dict[str, tuple[str, ...]] = {
    "building": ("cyprus", "crazyhorse", "piazza_san_marco", "st_pauls"),
    "object": ("et", "kermit", "temple_ring"),
    "aerial": ("brighton_beach", "seneca"),
}
_POINTS = 1000
# Two points nearer than this many times their radius may be one corner of a thing: no negatives for each other.
_REACH = 3.0
# Changes whenever the code below cuts other patches.
_VERSION = 1


@dataclass(frozen=True)
class PairSet:
    """The pairs of one scene.

    Attributes:
        name, group: of the scene.
        key: fingerprint of photos and tracks.
        tracks: the scene.
        first, second: (N,) observations of the two views of each point.
        other: (N,) index of another point, for the random pairs that do not match.
    """

    name: str
    group: str
    key: str
    tracks: Tracks
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    other: NDArray[np.intp]


@dataclass(frozen=True)
class _Distances:
    positive: NDArray[np.float64]
    random: NDArray[np.float64]
    nearest: NDArray[np.float64]


def read_pairs(data: Path) -> list[PairSet]:
    """Pairs of all validation scenes below ``data/scenes`` that belong to a group.

    Raises:
        DataError: there is no such scene, or one is damaged.
    """
    group_of = {scene: group for group, scenes in GROUPS.items() for scene in scenes}
    found = []
    for folder in scene_folders(data, validation=True):
        if folder.name not in group_of:
            continue
        tracks = load_scene(folder)
        rng = np.random.default_rng([4, *folder.name.encode()])
        drawn = rng.permutation(len(tracks))[: 2 * _POINTS]
        chosen = distinct(tracks, drawn, reach=_REACH)[:_POINTS]
        first, second = farthest_pairs(tracks, chosen)
        count = len(chosen)
        other = (np.arange(count) + rng.integers(1, max(count, 2), count)) % max(count, 1)
        files = [folder / "tracks.npz", *sorted((folder / "images").iterdir())]
        key = digest(_VERSION, _POINTS, *[file_digest(path) for path in files])
        found.append(PairSet(folder.name, group_of[folder.name], key, tracks, first, second, other))
    if not found:
        raise DataError(f"{Path(data) / 'scenes'} holds none of the board's scenes: {', '.join(group_of)}.")
    return found


def run(
    pairs: Sequence[PairSet], contestants: Sequence[Contestant], store: Store, *, listener: Listener | None = None
) -> Board:
    """The board for these contestants; what stands in ``store`` is not done again."""
    listener = listener or Nobody()
    found: list[Score] = []
    curves: list[Curve] = []
    cutters = [PatchCutter(scene.tracks.images) for scene in pairs]
    for contestant in contestants:
        by_level: dict[str, list[_Distances]] = {level: [] for level in JITTER}
        for scene, cutter in zip(pairs, cutters, strict=True):
            for level, measured in _scene_distances(scene, cutter, contestant, store).items():
                by_level[level].append(measured)
            listener.advance(note=f"{scene.name} {contestant.name}")
        for level, of_scenes in by_level.items():
            found += _summary(contestant, level, pairs, of_scenes)
            joined = _join(of_scenes)
            curves.append(roc_curve(NAME, contestant.name, level, joined.positive, joined.random))
    found += _means(found)
    text = (
        f"{len(pairs)} validation scenes, {sum(len(p.first) for p in pairs):,} points; the two views farthest apart in "
        "each track; the second one jittered (easy, hard, tough)"
    )
    return Board(NAME, text, tuple(found), tuple(curves))


def _scene_distances(
    scene: PairSet, cutter: PatchCutter, contestant: Contestant, store: Store
) -> dict[str, _Distances]:
    spec, compare = contestant.descriptor.spec, contestant.compare
    image = scene.tracks.obs_image

    def described(name: str, rows: NDArray[np.int64], jitter: Jitter | None) -> NDArray:
        def cut() -> NDArray[np.uint8]:
            frames = scene.tracks.frames[rows]
            if jitter:
                frames = jitter_frames(frames, jitter, np.random.default_rng([5, *scene.name.encode()]))
            return cutter.cut(image[rows], frames, patch_size=spec.patch_size, magnification=spec.magnification)

        return store.described(NAME, f"{scene.name}-{name}", digest(scene.key, name, repr(jitter)), contestant, cut)

    first = described("first", scene.first, None)
    labels = np.arange(len(first))
    found = {}
    for level, jitter in JITTER.items():
        second = described(level, scene.second, jitter)
        found[level] = _Distances(
            positive=compare.pairs(first, second),
            random=compare.pairs(first, second[scene.other]),
            nearest=compare.nearest_wrong(first, second, labels, labels),
        )
    return found


def _join(measured: Sequence[_Distances]) -> _Distances:
    return _Distances(
        *(np.concatenate([getattr(m, part) for m in measured]) for part in ("positive", "random", "nearest"))
    )


def _summary(
    contestant: Contestant, level: str, pairs: Sequence[PairSet], measured: Sequence[_Distances]
) -> list[Score]:
    found = []
    for group in dict.fromkeys(scene.group for scene in pairs):
        own = [m for scene, m in zip(pairs, measured, strict=True) if scene.group == group]
        joined = _join(own)
        for metric, value in (
            ("fpr95", scores.fpr95(joined.positive, joined.random)),
            ("roc_auc", scores.roc_area(joined.positive, joined.random)),
            ("fpr95_hardest", scores.fpr95(joined.positive, joined.nearest)),
            ("snn_map", scores.mean([snn_precision(m.positive, m.nearest, contestant.compare.doubt) for m in own])),
        ):
            found.append(Score(NAME, contestant.name, group, level, metric, value))
    return found


def _means(found: Sequence[Score]) -> list[Score]:
    """Means over the groups, over the levels, and over both."""
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for one in found:
        for place in (("all", one.condition), (one.subset, "all"), ("all", "all")):
            groups.setdefault((one.descriptor, *place, one.metric), []).append(one.value)
    return [Score(NAME, *key, scores.mean(values)) for key, values in groups.items()]
