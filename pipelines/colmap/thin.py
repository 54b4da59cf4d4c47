"""A database with few of another's matches, from which a mapper finds the cameras sooner.

A mapper's time goes into points, and cameras are known from a few hundred of them a photo: what else was matched is
taken up when they stand. On sample_data, 184,000 matches of 12 photos, the mapper takes 0.4 s instead of 4.6. Where it
makes a difference on training and validation scenes (copr; with 200 matches a pair kitchen, monstree and seneca, too)
cameras move by 0.003 to 0.11 % of their extent, and points become 0.1 to 0.4 % fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.colmap.cameras import load_pycolmap

if TYPE_CHECKING:
    import pycolmap

_MATCHES = 500
"""Of each pair, at least, if there are as many."""
_MANY = 20_000
"""Matches of all pairs below which a mapper takes little time anyway."""
_WORTH = 0.7
"""Share of the matches that a thin database has at most; with more, it is not worth its time."""


def thin_database(path: Path, to: Path) -> Path:
    """Write a database with those verified matches of another that belong to its longest tracks.

    Each pair keeps its matches of the longest tracks, and so no pair is lost that holds others together; a track, once
    kept, is kept in all pairs. Tracks that show two places of one photo come last, whatever their length.

    Args:
        path: a database, made by :func:`pipelines.colmap.views.write_database`.
        to: where none is yet.

    Returns:
        The database to be mapped: ``to``, or ``path`` where there are few matches or few would be left out, and nothing
        was written.

    Raises:
        RuntimeError: COLMAP cannot write it.
    """
    pycolmap = load_pycolmap()
    with closing(pycolmap.Database.open(path)) as whole:
        keys, views = whole.read_two_view_geometries()
        if sum(len(view.inlier_matches) for view in views) < _MANY:
            return path
        pairs = [pycolmap.pair_id_to_image_pair(key) for key in keys]
        kept = _on_long_tracks(pairs, [view.inlier_matches for view in views])
        if sum(map(np.count_nonzero, kept)) > _WORTH * sum(map(len, kept)):
            return path
        with closing(pycolmap.Database.open(to)) as thin:
            _copy_photos(whole, thin)
            for (a, b), view, some in zip(pairs, views, kept, strict=True):
                view.inlier_matches = view.inlier_matches[some]
                thin.write_two_view_geometry(a, b, view)
    return to


def _copy_photos(whole: pycolmap.Database, thin: pycolmap.Database) -> None:
    """Cameras, photos and keypoints."""
    for camera in whole.read_all_cameras():
        thin.write_camera(camera, use_camera_id=True)
    for rig in whole.read_all_rigs():
        thin.write_rig(rig, use_rig_id=True)
    for frame in whole.read_all_frames():
        thin.write_frame(frame, use_frame_id=True)
    for image in whole.read_all_images():
        thin.write_image(image, use_image_id=True)
        thin.write_keypoints(image.image_id, whole.read_keypoints(image.image_id)[:, :2])


def _on_long_tracks(pairs: Sequence[tuple[int, int]], matches: Sequence[NDArray[np.uint32]]) -> list[NDArray[np.bool_]]:
    """Per pair of photos, which of its matches (K,2) are kept."""
    counts: dict[int, int] = {}
    for pair, some in zip(pairs, matches, strict=True):
        for photo, keypoints in zip(pair, some.T, strict=True):
            counts[photo] = max(counts.get(photo, 0), int(keypoints.max(initial=0)) + 1)
    # The keypoints of all photos get numbers, one photo's after the other's.
    begins = dict(zip(counts, np.cumsum([0, *counts.values()]), strict=False))
    links = np.concatenate(
        [some + np.array([begins[a], begins[b]]) for (a, b), some in zip(pairs, matches, strict=True)]
    )
    track, length = _tracks(np.repeat(np.arange(len(counts)), list(counts.values())), links)
    tracks = np.split(track[links[:, 0]], np.cumsum([len(some) for some in matches])[:-1])
    # All pairs prefer the same of equally long tracks, wherever these lie.
    place = np.empty(len(length), np.intp)
    place[np.lexsort((np.random.default_rng(0).permutation(len(length)), -length))] = np.arange(len(length))
    kept = np.zeros(len(length), bool)
    for own in tracks:
        kept[own[np.argsort(place[own])[:_MATCHES]]] = True
    return [kept[own] for own in tracks]


def _tracks(photo: NDArray[np.intp], links: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """(N,) the track of each keypoint, and (T,) the photos of each track, 0 if it shows two places of one.

    Args:
        photo: (N,) of each keypoint.
        links: (M,2) keypoints that match.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = len(photo)
    linked = coo_matrix((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count, count))
    tracks, track = connected_components(linked, directed=False)
    length = np.bincount(track, minlength=tracks)
    order = np.lexsort((photo, track))
    twice = (track[order][1:] == track[order][:-1]) & (photo[order][1:] == photo[order][:-1])
    length[track[order][1:][twice]] = 0
    return track, length
