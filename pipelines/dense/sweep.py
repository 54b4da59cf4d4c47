"""The depth of one photo: a plane sweep against its neighbours, smoothed by semi-global matching, coarse to fine.

At the coarse level the candidates are planes parallel to the picture, spaced evenly in inverse depth so that the
neighbours' pixels move by about one from one to the next. At each finer level they are shifted copies of the surface
that was found before: the neighbours are warped by that surface, so that windows follow its slant (Scharstein et al.,
Semi-global stereo matching with surface orientation priors, 3DV 2017), and a few dozen candidates are enough.
Sources: Collins, A space-sweep approach to true multi-image matching, CVPR 1996; Kang et al., Handling occlusions in
dense multi-view stereo, CVPR 2001 (the better half of the neighbours counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from pipelines.dense.census_sweep import UNSEEN, census_volume
from pipelines.dense.neighbours import Task
from pipelines.dense.project import places, transfer, warp
from pipelines.dense.views import View
from pipelines.depth.cost import CostFunction
from pipelines.depth.filters import speckles, weighted_median
from pipelines.depth.sgm import Penalties, aggregate, winners

_MOST_PLANES = 160
"""Candidates of the coarsest level, beyond which a coarser one is begun with."""
_SMALLEST_SIDE = 100
_REACH = 9
"""Candidates to both sides of the surface that is refined."""
_STEP = 0.7
"""Motion of the neighbours' pixels between two of them, px."""
_NOT_SEEN = 255
_SPECKLE = 1 / 6000
"""Share of the picture that a piece of surface fills at least."""


@dataclass(frozen=True)
class DepthMap:
    """Depth of one photo, not yet compared with others.

    Attributes:
        depth: (H,W) float32 along the optical axis, map units; 0 where it is not known.
        planes: candidates of the coarsest level.
    """

    depth: NDArray[np.float32]
    planes: int


@dataclass(frozen=True)
class _Source:
    """A neighbour at one size, and where this photo's pixels lie in it.

    Attributes:
        gray: (h,w) uint8.
        a, b: of :func:`pipelines.dense.project.transfer`.
    """

    gray: NDArray[np.uint8]
    a: NDArray[np.float64]
    b: NDArray[np.float64]


@dataclass(frozen=True)
class _Level:
    """One photo and its neighbours at one size: (H,W) grey and (H,W,3) RGB."""

    gray: NDArray[np.uint8]
    guide: NDArray[np.uint8]
    sources: tuple[_Source, ...]


def sweep(views: Sequence[View], task: Task, cost: CostFunction, penalties: Penalties) -> DepthMap:
    """Depth of the photo ``task.index``.

    Args:
        views: all photos; those of the task are read from disk.
        task: neighbours and depth range.
        cost: what alike means.
        penalties: of semi-global matching.

    Raises:
        InputError: a picture cannot be read back.
    """
    view = views[task.index]
    pictures = [views[index].read() for index in (task.index, *task.neighbours)]
    moved = _motion(view, [views[index] for index in task.neighbours], task)
    shrinks = _shrinks(moved, min(view.width, view.height))
    inverse: NDArray[np.float32] | None = None
    first_planes = 0
    for shrink in shrinks:
        level = _level(views, task, pictures, shrink, cost.describer is not None)
        height, width = level.gray.shape
        if inverse is None:
            first_planes = max(8, int(np.ceil(moved / shrink)) + 1)
            base = np.full((height, width), task.far, np.float32)
            offsets = np.linspace(0.0, task.near - task.far, first_planes)
        else:
            grown = cv2.resize(_calm(inverse, level), (width, height), interpolation=cv2.INTER_LINEAR)
            base = np.asarray(grown, np.float32)
            step = (task.near - task.far) / max(moved / shrink, 1) * _STEP
            offsets = (np.arange(-_REACH, _REACH + 1) * step).astype(np.float64)
        volume = _volume(level, base, offsets, cost)
        best = winners(aggregate(volume, level.guide, penalties))
        spacing = offsets[1] - offsets[0]
        inverse = np.clip(base + np.float32(offsets[0]) + best.index * np.float32(spacing), task.far, task.near)
    assert inverse is not None
    step = (task.near - task.far) / max(moved, 1)
    least = max(20, int(inverse.size * _SPECKLE))
    kept = speckles(inverse, np.ones(inverse.shape, bool), least=least, step=2 * step)
    inverse = np.asarray(cv2.medianBlur(inverse, 3), np.float32)
    return DepthMap(np.where(kept, 1 / inverse, 0).astype(np.float32), first_planes)


def _motion(view: View, others: Sequence[View], task: Task) -> float:
    """Pixels by which the neighbours' pictures of the range's two ends lie apart: mean over the photo, median over
    the neighbours."""
    x, y = np.meshgrid(np.linspace(0, view.width - 1, 9), np.linspace(0, view.height - 1, 7))
    pixels = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)])
    lengths = []
    for other in others:
        a, b = view.onto(other)
        ends = [pixels @ a.T + b * inverse for inverse in np.linspace(task.far, task.near, 17)]
        ahead = np.all([end[:, 2] > 1e-6 for end in ends], axis=0)
        track = np.array([end[ahead, :2] / end[ahead, 2:] for end in ends])
        size = (other.width, other.height)
        inside = ((track[1:] >= 0) & (track[1:] < size) & (track[:-1] >= 0) & (track[:-1] < size)).all(axis=2)
        steps = np.linalg.norm(np.diff(track, axis=0), axis=2)
        if inside.any():  # of the parts of the way that lie in the picture
            lengths.append(float(steps[inside].mean()) * (len(track) - 1))
    return float(np.median(lengths)) if lengths else 1.0


def _shrinks(moved: float, shorter: int) -> list[float]:
    """By how much the picture is shrunk at each level, the coarsest first."""
    shrinks = [1.0, 2.0]
    while moved / shrinks[-1] > _MOST_PLANES and shorter / (2 * shrinks[-1]) >= _SMALLEST_SIDE:
        shrinks.append(2 * shrinks[-1])
    return shrinks[::-1]


def _level(
    views: Sequence[View], task: Task, pictures: Sequence[NDArray[np.uint8]], shrink: float, upright: bool
) -> _Level:
    """The pictures at one size; ``upright``: neighbours turned and scaled as this photo is, for descriptors that know
    neither rotation nor scale."""
    view = views[task.index]
    grays, cameras = [], []
    for index, picture in zip((task.index, *task.neighbours), pictures, strict=True):
        height, width = picture.shape[:2]
        size = max(1, round(width / shrink)), max(1, round(height / shrink))
        small = picture if shrink == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        grays.append(np.asarray(cv2.cvtColor(np.ascontiguousarray(small), cv2.COLOR_RGB2GRAY), np.uint8))
        scale = np.diag([size[0] / width, size[1] / height, 1.0])
        shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1.0]])
        cameras.append(np.linalg.inv(shift) @ scale @ shift @ views[index].intrinsics)
        if index == task.index:
            guide = np.ascontiguousarray(small, np.uint8)
    sources = []
    for index, gray, camera in zip(task.neighbours, grays[1:], cameras[1:], strict=True):
        source = _Source(gray, *transfer(cameras[0], view.cam_from_world, camera, views[index].cam_from_world))
        sources.append(_rectified(source, task, grays[0].shape) if upright else source)
    return _Level(grays[0], guide, tuple(sources))


def _rectified(source: _Source, task: Task, shape: tuple[int, int]) -> _Source:
    """A neighbour brought into this photo by the plane in the middle of the range."""
    middle = (task.near + task.far) / 2
    picture, _ = warp(source.gray, np.full(shape, middle, np.float32), 0.0, source.a, source.b)
    back = np.linalg.inv(source.a + np.outer(source.b, [0, 0, middle]))
    return _Source(picture, back @ source.a, back @ source.b)


def _volume(
    level: _Level, base: NDArray[np.float32], offsets: NDArray[np.float64], cost: CostFunction
) -> NDArray[np.uint8]:
    """(H,W,D) uint8 costs of the surface ``base`` shifted by each of the offsets (inverse depth)."""
    if cost.describer is None:
        return census_volume(level.gray, [(one.gray, one.a, one.b) for one in level.sources], base, offsets)
    height, width = level.gray.shape
    described = cost.features(level.gray)
    costs = np.full((len(level.sources), height, width, len(offsets)), _NOT_SEEN, np.uint8)
    for source, found in zip(level.sources, costs, strict=True):
        other = cost.features(source.gray)  # one at a time: a vector a pixel is much
        for number, offset in enumerate(offsets):
            x, y = places(base, offset, source.a, source.b)
            seen = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
            sampled = np.minimum(cost.sampled(described, other, x, y), _NOT_SEEN - 1)
            found[:, :, number] = np.where(seen, sampled, _NOT_SEEN)
    volume = np.empty((height, width, len(offsets)), np.uint8)
    _better_half(costs, volume)
    return volume


@njit(cache=True, parallel=True)
def _better_half(costs, volume):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The mean of the better half of the costs, of those neighbours that see the place."""
    count, height, width, candidates = costs.shape
    for y in prange(height):
        found = np.empty(count, np.int32)
        for x in range(width):
            for number in range(candidates):
                there = 0
                for k in range(count):
                    value = np.int32(costs[k, y, x, number])
                    if value < _NOT_SEEN:
                        place = there
                        while place > 0 and found[place - 1] > value:
                            found[place] = found[place - 1]
                            place -= 1
                        found[place] = value
                        there += 1
                half, total = (there + 1) // 2, 0
                for place in range(half):
                    total += found[place]
                volume[y, x, number] = (total + half // 2) // half if there else UNSEEN


def _calm(inverse: NDArray[np.float32], level: _Level) -> NDArray[np.float32]:
    """The surface that the next level refines: without outliers, its steps where the picture has edges."""
    calm = np.asarray(cv2.medianBlur(np.ascontiguousarray(inverse), 5), np.float32)
    guide = cv2.resize(level.guide, (inverse.shape[1], inverse.shape[0]), interpolation=cv2.INTER_AREA)
    return weighted_median(calm, np.asarray(guide, np.uint8), reach=3, spread=8.0)
