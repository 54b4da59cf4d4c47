"""Why a photo is not in the model, and why there is no model: in plain words, with the figures behind them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipelines import colmap
from pipelines.core.errors import InputError, NoModelError, NoOverlapError
from pipelines.core.groups import hanging_together
from pipelines.core.maps import Camera, Model, TwoView, Unregistered
from pipelines.core.thresholds import threshold_scale
from pipelines.features.extract import FeatureFiles
from pipelines.images.masks import alpha_mask, find_mask, load_mask

Pair = tuple[int, int]

_FEW_KEYPOINTS = 50
_LITTLE = 0.1
"""Share of a photo below which what its mask leaves explains that it has few keypoints."""
_VISIBLE = "masks that are black only where nothing should be seen"
_POSE_INLIERS = 30
_POSE_ERROR = 12.0
"""COLMAP's own limits for registering a photo."""


@dataclass(frozen=True)
class MatchGraph:
    """What is known about a set of photos before mapping.

    Attributes:
        names: of the photos.
        keypoints: per photo.
        raw: pair -> number of matches before verification.
        views: pair -> verified geometry.
    """

    names: tuple[str, ...]
    keypoints: tuple[int, ...]
    raw: Mapping[Pair, int]
    views: Mapping[Pair, TwoView]

    def verified(self) -> np.ndarray:
        """(N,) verified matches of each photo, over all its pairs."""
        total = np.zeros(len(self.names), np.int64)
        for (a, b), view in self.views.items():
            total[[a, b]] += len(view)
        return total

    def best_partner(self, index: int) -> tuple[int, int] | None:
        """The photo with most verified matches with ``index``, and their number."""
        return _most({pair: len(view) for pair, view in self.views.items()}, index)

    def best_raw_partner(self, index: int) -> tuple[int, int] | None:
        """The photo with most unverified matches with ``index``, and their number."""
        return _most(self.raw, index)

    def components(self) -> list[list[int]]:
        """Photos connected by verified pairs, largest component first; single photos included."""
        return hanging_together(len(self.names), self.views)

    def weakest_links(self, count: int = 3) -> list[tuple[int, int, int]]:
        """Photos that hang on the fewest verified matches: (photo, best partner, matches), weakest first."""
        links: dict[frozenset[int], tuple[int, int, int]] = {}
        for index in range(len(self.names)):
            partner = self.best_partner(index)
            if partner is not None:
                links.setdefault(frozenset((index, partner[0])), (index, *partner))
        return sorted(links.values(), key=lambda link: link[2])[:count]

    def outlook(self) -> list[str]:
        """Lines to print before mapping: matches per photo, components, weakest links."""
        groups = self.components()
        sizes = [len(group) for group in groups if len(group) > 1]
        total = len(self.names)
        verified = self.verified()
        lines = [
            f"{len(self.views)} of {len(self.raw)} pairs verified; "
            f"{int(np.median(verified)) if total else 0} verified matches in the median photo"
        ]
        if sizes and sizes[0] == total:
            lines.append(f"{all_of(total)} photos hang together")
        elif sizes:
            alone = total - sum(sizes)
            lines.append(f"Connected groups of {listed(sizes)} photos" + (f"; {alone} without a link" * bool(alone)))
        links = [f"{self.names[a]} ({n} with {self.names[b]})" for a, b, n in self.weakest_links()]
        if links:
            lines.append("Weakest links: " + ", ".join(links))
        return lines


def all_of(total: int) -> str:
    """How a sentence about all of several begins."""
    return "Both" if total == 2 else f"All {total}"


def listed(numbers: Sequence[int]) -> str:
    """Numbers as in a sentence: 8, 5 and 3."""
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def _most(matches: Mapping[Pair, int], index: int) -> tuple[int, int] | None:
    """The photo with most matches with ``index``, and their number; None without any."""
    found = [(count, -_other(pair, index)) for pair, count in matches.items() if index in pair and count]
    if not found:
        return None
    count, other = max(found)
    return -other, count


def _other(pair: Pair, index: int) -> int:
    return pair[1] if pair[0] == index else pair[0]


def no_overlap(graph: MatchGraph, min_inliers: int) -> NoOverlapError:
    """The error for a set in which no pair was verified."""
    best = max(graph.raw.items(), key=lambda item: item[1], default=None)
    advice = "photos that overlap by half or more, --max-size 3200, more --max-keypoints, or another --descriptor"
    if not any(graph.keypoints):
        why, advice = "none of them has a keypoint", f"sharper photos; with --masks, {_VISIBLE}"
    elif best is None or best[1] == 0:
        why = "not a single feature of one photo was found again in another"
    else:
        (a, b), count = best
        why = (
            f"the best pair, {graph.names[a]} and {graph.names[b]}, has {count} matches of which fewer than "
            f"{min_inliers} agree with one geometry"
        )
    return NoOverlapError(f"No two of the {len(graph.names)} photos show the same place", why, advice)


def no_model(graph: MatchGraph) -> NoModelError:
    """The error for a set with verified pairs of which no model could be made."""
    (a, b), view = max(graph.views.items(), key=lambda item: (len(item[1]) * min(item[1].angle, 0.3), len(item[1])))
    degrees = math.degrees(view.angle)
    if view.config in ("PANORAMIC", "PLANAR_OR_PANORAMIC") or degrees < 2:
        why, try_ = "the camera hardly moved between them", "take steps sideways between photos, or use `recon stitch`"
    elif len(view) < 100:
        why, try_ = (
            "that is too few to start from",
            "more overlap between photos, --max-size 3200, more --max-keypoints",
        )
    else:
        why, try_ = "no start from it was stable", "other --intrinsics, or --mapper global"
    return NoModelError(
        f"No 3D model could be made of {len(graph.names)} photos",
        f"the best pair to start from, {graph.names[a]} and {graph.names[b]}, has {len(view)} verified matches "
        f"({view.config.lower().replace('_', ' ')}) at a triangulation angle of {degrees:.1f} degrees; {why}",
        try_,
    )


def unregistered(
    graph: MatchGraph,
    models: Sequence[Model],
    files: FeatureFiles,
    cameras: Sequence[Camera],
    *,
    masks: Path | None = None,
    seed: int,
) -> list[Unregistered]:
    """A reason for every photo that is in no model.

    Args:
        graph: matches of all photos.
        models: the models that were made.
        files: features, for the pose test.
        cameras: intrinsics prior of each photo.
        masks: folder of masks that the features were made with.
        seed: of the pose test's RANSAC.
    """
    inquiry = _Inquiry(graph, models, files, cameras, masks, seed)
    registered = {name for model in models for name in model.names}
    missing = [index for index, name in enumerate(graph.names) if name not in registered]
    return [
        Unregistered(graph.names[index], *(inquiry.hidden(index) or inquiry.reason(index, registered)))
        for index in missing
    ]


PointLookup = Mapping[int, Mapping[int, int]]
"""Photo index -> keypoint index -> point index."""


@dataclass(frozen=True)
class _Inquiry:
    """What is asked of a photo that is in no model; attributes as the arguments of :func:`unregistered`."""

    graph: MatchGraph
    models: Sequence[Model]
    files: FeatureFiles
    cameras: Sequence[Camera]
    masks: Path | None
    seed: int

    @cached_property
    def lookups(self) -> list[PointLookup]:
        """The points of each model."""
        return [_point_lookup(model, self.graph) for model in self.models]

    def hidden(self, index: int) -> tuple[str, str] | None:
        """Reason and advice for a photo of which mask or transparency leaves next to nothing; None for all others."""
        photo, keypoints = self.files.photos[index], self.graph.keypoints[index]
        if keypoints >= _FEW_KEYPOINTS:
            return None
        try:
            mask = find_mask(photo, self.masks) if self.masks else None
            parts = {"its mask": load_mask(mask, photo) if mask else None, "transparency": alpha_mask(photo)}
        except InputError:  # gone since
            return None
        shares = {name: float(part.mean()) for name, part in parts.items() if part is not None}
        name = min(shares, key=lambda name: shares[name], default="")
        if not name or shares[name] > _LITTLE:
            return None
        left = f"{shares[name]:.1%}" if shares[name] else "nothing"
        advice = _VISIBLE if mask else "a photo that is not transparent there"
        return f"{name} leaves {left} of it, with {keypoints} keypoints", advice

    def reason(self, index: int, registered: Collection[str]) -> tuple[str, str]:
        """Reason and advice by keypoints, matches and the pose test, whichever says why first.

        Args:
            registered: names of the photos that are in a model.
        """
        graph = self.graph
        if graph.keypoints[index] < _FEW_KEYPOINTS:
            return (
                f"only {graph.keypoints[index]} keypoints were found in it",
                "a sharper photo or one with more texture; --max-size 3200",
            )
        partner = graph.best_partner(index)
        if partner is None:
            raw = graph.best_raw_partner(index)
            seen = (
                f"the best candidate is {graph.names[raw[0]]} with {raw[1]} matches, none verified"
                if raw
                else "no match"
            )
            return (
                f"no other photo shares a verified view with it ({seen})",
                "a photo from between this one and the others, or another --descriptor",
            )
        best = f"most with {graph.names[partner[0]]}: {partner[1]}"
        linked = [_other(pair, index) for pair in graph.views if index in pair]
        if not any(graph.names[other] in registered for other in linked):
            return (
                f"it is linked only to photos that are not in a model either ({best} verified matches)",
                "more photos between this group and the rest",
            )
        tried = [self._pose_test(index, *each) for each in zip(self.models, self.lookups, strict=True)]
        inliers, seen_points = max(tried)
        if inliers < _POSE_INLIERS:
            return (
                f"its best pose agrees with {inliers} of {seen_points} matched 3D points, {_POSE_INLIERS} are needed "
                f"(verified matches: {best})",
                "a photo from between this one and its neighbours, more --max-keypoints, or --intrinsics if it was "
                "cropped",
            )
        return (
            f"a pose with {inliers} of {seen_points} matched 3D points exists, but bundle adjustment did not keep it "
            f"(verified matches: {best})",
            "--intrinsics if the photo was cropped or zoomed; `recon sfm` with --add-to to try again",
        )

    def _pose_test(self, index: int, model: Model, lookup: PointLookup) -> tuple[int, int]:
        """(inliers, correspondences) of the best pose of a photo in a model."""
        found: dict[int, int] = {}
        for pair, view in self.graph.views.items():
            if index not in pair or _other(pair, index) not in lookup:
                continue
            own = 0 if pair[0] == index else 1
            points = lookup[_other(pair, index)]
            for row in view.inliers:
                point = points.get(int(row[1 - own]))
                if point is not None:
                    found[int(row[own])] = point
        if not found:
            return 0, 0
        xy = self.files.load_frames(index)[list(found), :, 2].astype(np.float64)
        camera, xyz = self.cameras[index], model.xyz[list(found.values())]
        limit = _POSE_ERROR * threshold_scale(camera)
        pose = colmap.absolute_pose(camera, xy, xyz, max_error=limit, seed=self.seed)
        return 0 if pose is None else int(pose.inliers.sum()), len(found)


def _point_lookup(model: Model, graph: MatchGraph) -> PointLookup:
    index_of = {name: index for index, name in enumerate(graph.names)}
    return {
        index_of[name]: dict(zip(model.obs_keypoint[rows].tolist(), model.obs_point[rows].tolist(), strict=True))
        for name, rows in zip(model.names, model.rows_of_images, strict=True)
    }
