"""Photos of a finished map matched again, along the epipolar lines of its cameras.

Where nothing tells focal lengths, photos are matched all with all, and of ten thousand rivals one is often as near as
the right one. The map tells the line on which each keypoint's partner lies, where there are some dozens: guided
matching, as COLMAP's, but by the cameras of all photos together, while a fundamental matrix bends to a pair's matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines import colmap
from pipelines.core.cache import ReadCache
from pipelines.core.maps import Camera, Model, TwoView
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.engine import cores, map_items
from pipelines.features.extract import FeatureFiles
from pipelines.geometry.similarity import camera_alignment
from pipelines.matching.candidates import first_at_place
from pipelines.matching.coarse import Prepared, Rule, along_lines, prepare
from pipelines.matching.match import blockwise
from pipelines.matching.matcher import MatchConfig, Matcher
from pipelines.pairs.shared import pairs_that_share
from pipelines.sfm.config import SfmConfig
from pipelines.sfm.mapping import MappingInput, mapping_job
from pipelines.sfm.why import Pair
from pipelines.store.folder import MapFolder

_BAND = 3.0
"""Px from a line, scaled with the photo. A narrow band confirms a map in its errors: of Herz-Jesus-P8, its photos taken
for those of eight cameras, cameras would be 4.35 mm off with 2 px, 4.12 with 3 and 4.10 with 4; sacre_coeur, see
below, would move by 0.26, 0.21 and 0.25 %."""

_ASKED = 4
"""Every fourth pair is asked first whether the others are worth their time."""
_WORTH = 1.1
"""Matches with those along lines over those before, from which a map is made of them. On sacre_coeur there are 1.56
times as many for RootSIFT, 1.31 for Swift-small: without one of its photos its map moves by 0.21 instead of 0.41 % and
0.21 instead of 0.55 % of its size (mean of the medians over cameras). Where photos are sharp and no façade has many
like windows, matches are plenty without: with each photo taken for one of a camera of its own, there are 1.15, 1.10
and 1.07 times as many on Herz-Jesus-P8, fountain-P11 and sample_data, and cameras are 4.1, 3.1, 0.62 mm off instead of
4.1, 3.2, 0.65, in a fifth more time."""


def match_again(
    folder: MapFolder,
    given: MappingInput,
    models: Sequence[colmap.Reconstruction],
    config: SfmConfig,
    *,
    progress: Progress,
) -> list[colmap.Reconstruction]:
    """Match the photos of models along their epipolar lines, where that makes a difference, and take up what comes
    of it; models stay in the world that they have.

    Args:
        folder: the map, with its database, which gets the new matches too.
        given: what the models were made of.

    Returns:
        The models, largest first.
    """
    index = {name: number for number, name in enumerate(given.graph.names)}
    mapped = [colmap.to_model(model) for model in models]
    numbers = [[index[name] for name in model.names] for model in mapped]
    own = [[given.cameras[given.camera_of[number]] for number in some] for some in numbers]
    if config.mapping.mapper != "incremental" or not any(map(_poorly_told, own)):
        return list(models)
    matcher = Matcher(config.features.descriptor, config.matching)
    if matcher.scorer is not None:
        return list(models)
    job = mapping_job(folder, given, config.mapping, seed=config.seed)
    for model, before, some, cameras in zip(models, mapped, numbers, own, strict=True):
        lines = _Lines(before, some, given.files, matcher, config)
        views = lines.views(given, progress) if _poorly_told(cameras) else {}
        if views:
            colmap.put_views(folder.next_database, views)
            colmap.take_up(job, model)
            colmap.transform(model, *camera_alignment(colmap.poses(model), before.cam_from_world))
    return colmap.largest_first(models)


def _poorly_told(cameras: Sequence[Camera]) -> bool:
    """Whether photos have cameras of their own (those given here), and nothing told the focal lengths of some."""
    return 2 * len(set(cameras)) > len(cameras) > 2 and any(camera.source == "guess" for camera in cameras)


@dataclass(frozen=True)
class _Straight:
    """A photo without its lens's distortion.

    Attributes:
        keypoints: (N,) those that have a place there.
        prepared: they alone, in px of a pinhole photo with the same focal length, from its principal point.
        focal: px.
    """

    keypoints: NDArray[np.intp]
    prepared: Prepared
    focal: float

    @property
    def nbytes(self) -> int:
        """Memory, about."""
        return self.prepared.nbytes


class _Lines:
    """Pairs of a model's photos matched along its lines.

    Args:
        model: the model.
        numbers: of its photos in ``files``.
        matcher, config: what counts as a match, and with how many others a photo is matched.
    """

    def __init__(
        self, model: Model, numbers: Sequence[int], files: FeatureFiles, matcher: Matcher, config: SfmConfig
    ) -> None:
        self._model, self._files = model, files
        self._first, self._neighbours = config.matching.first or MatchConfig.first, config.pairs.neighbours
        self._image = {number: image for image, number in enumerate(numbers)}
        band = _BAND * threshold_scale(*model.cameras)
        self._rule = Rule(matcher.ratio, matcher.waiting, band, matcher.distance)
        self._straight = ReadCache(self._read)

    def views(self, given: MappingInput, progress: Progress) -> dict[Pair, TwoView]:
        """Geometries of pairs that share points, with the matches they had and, after those, the new ones; {} if
        those are few."""
        image, point = np.array(list(self._image))[self._model.obs_image], self._model.obs_point
        pairs = blockwise(pairs_that_share(image, point, neighbours=self._neighbours))
        known = given.graph.views

        def view(pair: Pair) -> TwoView:
            return self._with_more(pair, known.get(pair))

        found: dict[Pair, TwoView] = {}
        for some in (pairs[::_ASKED], [pair for at, pair in enumerate(pairs) if at % _ASKED]):
            with progress.stage("Matching along lines", len(some)) as task:
                for pair, made in zip(some, map_items(view, some, workers=cores()), strict=True):
                    found[pair] = made
                    task.advance(note=" – ".join(given.graph.names[number] for number in pair))
            before = sum(len(known[pair]) for pair in found if pair in known)
            if sum(map(len, found.values())) <= _WORTH * before:
                return {}
        return found

    def _with_more(self, pair: Pair, known: TwoView | None) -> TwoView:
        a, b = (self._straight(number) for number in pair)
        b_from_a = self._b_from_a(pair)
        essential = np.cross(b_from_a[:, 3], b_from_a[:, :3], axisb=0, axisc=0)
        fundamental = np.array([[1], [1], [b.focal]]) * essential * np.array([1, 1, a.focal])
        found = along_lines(a.prepared, b.prepared, fundamental, self._rule).matches
        more = np.column_stack([a.keypoints[found[:, 0]], b.keypoints[found[:, 1]]]).astype(np.int32)
        if known is None:
            return TwoView(len(more), more, "CALIBRATED", essential=essential, b_from_a=b_from_a)
        more = more[~(np.isin(more[:, 0], known.inliers[:, 0]) | np.isin(more[:, 1], known.inliers[:, 1]))]
        return replace(known, raw=known.raw + len(more), inliers=np.concatenate([known.inliers, more]))

    def _b_from_a(self, pair: Pair) -> NDArray[np.float64]:
        """(3,4) with a translation of unit length."""
        a, b = (self._model.cam_from_world[self._image[number]] for number in pair)
        rotation = b[:, :3] @ a[:, :3].T
        shift = b[:, 3] - rotation @ a[:, 3]
        return np.column_stack([rotation, shift / np.linalg.norm(shift)])

    def _read(self, number: int) -> _Straight:
        features, camera = self._files.load(number), self._model.cameras[self._image[number]]
        rays = colmap.rays_of_pixels(camera, features.frames[:, :, 2])
        keypoints, focal = np.flatnonzero(np.isfinite(rays).all(axis=1)), camera.params[0]
        frames, places = features.frames[keypoints], first_at_place(features.frames[keypoints])
        frames[:, :, 2] = focal * rays[keypoints]
        made = prepare(frames, features.descriptors[keypoints], places, self._first, self._rule.distance)
        return _Straight(keypoints, made, focal)
