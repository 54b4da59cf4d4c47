"""A query's features, the photos of the map that look like it, and matches with the map's points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.distances import Described, Matches
from descriptors.views import Views
from pipelines.core.cache import ReadCache
from pipelines.core.types import Features, Photo
from pipelines.engine import cores
from pipelines.localize.map import Component, LocalMap
from pipelines.matching.candidates import first_at_place, one_per_place
from pipelines.pairwise.frontend import FrontEnd


@dataclass(frozen=True)
class Correspondences:
    """Keypoints of a query and the points of one model that they were matched with.

    Attributes:
        part: the model.
        keypoint: (N,) int32 keypoint of the query.
        point: (N,) int32 index of a point of the model; no keypoint and no point twice.
        photos: number of each photo of the map that was matched with -> (M,) rows of this table whose points it shows.
        shown: (P,) all the points that these photos show, sorted.
        views: what each of them looks like there.
    """

    part: Component
    keypoint: NDArray[np.int32]
    point: NDArray[np.int32]
    photos: Mapping[int, NDArray[np.int64]]
    shown: NDArray[np.int32]
    views: Views


@dataclass(frozen=True)
class Near:
    """A place that a query was taken at most so far from, in the units of the map."""

    centre: tuple[float, float, float]
    radius: float


class QueryMatcher:
    """Describes queries as the map's own photos were, and matches them with the map's points.

    What these look like is read from disk; a map of any size is searched in the same memory.
    """

    def __init__(self, target: LocalMap) -> None:
        self._map = target
        self._front = FrontEnd(target.features, target.matching)
        self._pair_features = ReadCache(target.files.load_pair_features)
        self._part_of = target.registered()

    def describe(self, photo: Photo) -> Features:
        """Features of a query; frames in its full-resolution pixels.

        Raises:
            InputError: it cannot be read.
        """
        cv2.setNumThreads(cores())
        return self._front.describe(photo)

    def similar(self, features: Features, count: int, near: Near | None = None) -> list[int]:
        """Numbers of the registered photos that look most like the query, best first; of those ``near``, if given."""
        index = self._map.index
        allowed = set(self._part_of) if near is None else self._around(near, count)
        # More than asked for, since some photos are in no model, or elsewhere; all if that was not enough.
        for wanted in (4 * count + 20, len(index.vectors)):
            order = index.query(index.describe(features)[None], wanted)[0][0]
            found = [number for number in order.tolist() if number in allowed][:count]
            if len(found) == count:
                break
        return found

    def _around(self, near: Near, least: int) -> set[int]:
        """Numbers of the photos that were taken near a place, of each model at least so many: those nearest to it.

        It is the query that was taken there; what it shows may have been taken from farther off.
        """
        found = set()
        for part in self._map.components:
            apart = np.linalg.norm(part.model.centres - near.centre, axis=1)
            reach = max(near.radius, np.sort(apart)[:least].max())
            names = {name for name, length in zip(part.model.names, apart, strict=True) if length <= reach}
            found |= {number for number in part.point_of if self._map.files.photos[number].name in names}
        return found & set(self._part_of)

    def match(self, features: Features, numbers: Sequence[int]) -> list[Correspondences]:
        """Matches with the points that these photos see, one table per model, the largest table first."""
        tables = []
        for part in self._map.components:
            showing = [number for number in numbers if self._part_of[number] is part]
            if showing:
                tables.append(self._match(features, part, showing))
        return sorted(tables, key=lambda table: -len(table.keypoint))

    def _match(self, features: Features, part: Component, numbers: Sequence[int]) -> Correspondences:
        rows = np.concatenate([part.looks.of(number) for number in numbers])
        views, points = Views.grouped(rows, np.concatenate([part.seen_by(number) for number in numbers]))
        found = self._compared(features, part, numbers, views)
        places = np.arange(len(points), dtype=np.int32)
        pairs = one_per_place(found, first_at_place(features.frames), places).pairs
        matched = points[pairs[:, 1]]
        photos = {number: np.flatnonzero(np.isin(matched, part.seen_by(number))) for number in numbers}
        return Correspondences(part, pairs[:, 0], matched, photos, points, views)

    def _compared(self, features: Features, part: Component, numbers: Sequence[int], views: Views) -> Matches:
        """Matches of keypoints and things. A metric network is shown one view of each, from the most similar photo."""
        matcher = self._front.matcher
        if not self._front.is_metric_network:
            return matcher.with_views(features.descriptors, views, threads=cores())
        kept = np.concatenate([self._pair_features(n)[np.flatnonzero(part.point_of[n] >= 0)] for n in numbers])
        owner = np.concatenate([part.seen_by(number) for number in numbers])
        pair_features = kept[np.argsort(owner, kind="stable")][views.starts]
        one = Described(views.rows[views.starts], pair_features)
        return matcher(Described(features.descriptors, features.pair_features), one, threads=cores())
