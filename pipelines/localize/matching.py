"""A query's features, the photos of the map that look like it, and matches with the map's points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from descriptors.distances import Matches
from descriptors.rerank import Described
from pipelines.core.types import Features, Photo
from pipelines.engine import cores
from pipelines.localize.map import Component, LocalMap
from pipelines.matching.match import DescriptorCache, first_at_place, one_per_place
from pipelines.pairwise.frontend import FrontEnd


@dataclass(frozen=True)
class Correspondences:
    """Keypoints of a query and the points of one model that they were matched with.

    Attributes:
        part: the model.
        keypoint: (N,) int32 keypoint of the query.
        point: (N,) int32 index of a point of the model; no (keypoint, point) twice.
        photos: number of each photo of the map that was matched with -> (M,) rows of this table that it supports.
    """

    part: Component
    keypoint: NDArray[np.int32]
    point: NDArray[np.int32]
    photos: Mapping[int, NDArray[np.int64]]


@dataclass(frozen=True)
class Near:
    """A place that a query was taken at most so far from, in the units of the map."""

    centre: tuple[float, float, float]
    radius: float


class QueryMatcher:
    """Describes and matches queries as the map's own photos were.

    Of the map's descriptors it keeps those of recently matched photos, in half precision, within a fixed number of
    bytes; a map of any size is searched in the same memory.
    """

    def __init__(self, target: LocalMap) -> None:
        self._map = target
        self._front = FrontEnd(target.features, target.matching)
        self._compact = DescriptorCache(target.files.load_descriptors)
        self._pair_features = DescriptorCache(target.files.load_pair_features)
        self._places = DescriptorCache(lambda number: first_at_place(target.files.load_frames(number)))
        self._part_of = target.registered()

    def describe(self, photo: Photo) -> Features:
        """Features of a query; frames in its full-resolution pixels.

        Raises:
            InputError: it cannot be read.
        """
        cv2.setNumThreads(cores())
        return self._front.describe(photo)

    def similar(self, features: Features, count: int, near: Near | None = None) -> list[int]:
        """Numbers of the registered photos that look most like the query, best first; only those ``near``, if given."""
        index = self._map.index
        allowed = set(self._part_of) if near is None else self._around(near)
        # More than asked for, since some photos are in no model, or elsewhere; all if that was not enough.
        for wanted in (4 * count + 20, len(index.vectors)):
            order = index.query(index.describe(features)[None], wanted)[0][0]
            found = [number for number in order.tolist() if number in allowed][:count]
            if len(found) == count:
                break
        return found

    def _around(self, near: Near) -> set[int]:
        """Numbers of the photos that were taken near a place."""
        found = set()
        for part in self._map.components:
            apart = np.linalg.norm(part.model.centres - near.centre, axis=1)
            names = {name for name, length in zip(part.model.names, apart, strict=True) if length <= near.radius}
            found |= {number for number in part.point_of if self._map.files.photos[number].name in names}
        return found & set(self._part_of)

    def _described(self, number: int) -> NDArray:
        held = self._compact(number)
        return held.astype(np.float32) if held.dtype == np.float16 else held

    def match(self, features: Features, numbers: list[int]) -> list[Correspondences]:
        """Matches with the points that these photos see, one table per model, the largest table first."""
        mine = first_at_place(features.frames)
        found: dict[str, list[tuple[int, NDArray[np.int32]]]] = {}
        for number in numbers:
            pairs = one_per_place(self._pairs(features, number), mine, self._places(number)).pairs
            part = self._part_of[number]
            points = part.point_of[number]
            pairs = pairs[pairs[:, 1] < len(points)]
            seen = np.column_stack([pairs[:, 0], points[pairs[:, 1]]])
            found.setdefault(part.folder, []).append((number, seen[seen[:, 1] >= 0].astype(np.int32)))
        tables = [_table(part, found[part.folder]) for part in self._map.components if part.folder in found]
        return sorted(tables, key=lambda table: -len(table.keypoint))

    def points(self, table: Correspondences, numbers: list[int]) -> tuple[NDArray[np.int32], NDArray]:
        """(P,) points of the table's model that these photos see, and (P,D) the descriptor that the first saw."""
        points, described = [], []
        for number in numbers:
            seen = table.part.point_of[number]
            keypoints = np.flatnonzero(seen >= 0)
            points.append(seen[keypoints])
            described.append(self._described(number)[keypoints])
        unique, first = np.unique(np.concatenate(points), return_index=True)
        return unique, np.concatenate(described)[first]

    def _pairs(self, features: Features, number: int) -> Matches:
        kept = self._pair_features(number) if self._front.is_metric_network else None
        query = Described(features.descriptors, features.pair_features)
        return self._front.matcher(query, Described(self._described(number), kept), threads=cores())


def _table(part: Component, found: list[tuple[int, NDArray[np.int32]]]) -> Correspondences:
    every = np.concatenate([seen for _, seen in found])
    unique, row = np.unique(every, axis=0, return_inverse=True)
    rows = np.split(row.reshape(-1), np.cumsum([len(seen) for _, seen in found])[:-1])
    photos = {number: at for (number, _), at in zip(found, rows, strict=True)}
    return Correspondences(part, unique[:, 0].copy(), unique[:, 1].copy(), photos)
