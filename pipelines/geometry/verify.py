"""Matches to two-view geometry, on all cores, kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.maps import TwoView
from pipelines.core.progress import Progress
from pipelines.core.thresholds import threshold_scale
from pipelines.engine import cores, map_items
from pipelines.features.extract import FeatureFiles
from pipelines.geometry.residuals import residuals
from pipelines.geometry.two_view import estimate_two_view
from pipelines.matching.match import Geometries, blockwise, read_matches
from pipelines.store.files import fingerprint, read_arrays, write_arrays

_CODE = 5
_MATRICES = ("essential", "fundamental", "homography", "b_from_a")


def _two_view(arrays: Mapping[str, NDArray]) -> TwoView | None:
    """A pair's geometry from its file; None if the pair has none."""
    if not len(arrays["inliers"]):
        return None
    return TwoView(
        raw=int(arrays["raw"]),
        inliers=arrays["inliers"],
        config=str(arrays["config"]),
        angle=float(arrays["angle"]),
        **{name: arrays.get(name) for name in _MATRICES},
    )


def _write_two_view(path: Path, view: TwoView | None, raw: int) -> None:
    if view is None:
        view = TwoView(raw, np.empty((0, 2), np.int32), "DEGENERATE")
    matrices = {name: getattr(view, name) for name in _MATRICES if getattr(view, name) is not None}
    write_arrays(
        path,
        {
            "raw": np.array(view.raw),
            "inliers": view.inliers,
            "config": np.array(view.config),
            "angle": np.array(view.angle),
            **matrices,
        },
    )


def verify_pairs(
    files: FeatureFiles,
    match_keys: Mapping[tuple[int, int], str],
    geometries: Geometries,
    folder: Path,
    *,
    progress: Progress,
) -> dict[tuple[int, int], TwoView]:
    """Verify every matched pair; what is on disk already is not made again.

    Args:
        files: features of the photos.
        match_keys: pair of photo indices -> key of its matches in ``folder``.
        geometries: what tells them.
        folder: where matches stand and geometries go.

    Returns:
        The pairs that have a geometry, in order.
    """

    cameras, config, seed = geometries.cameras, geometries.config, geometries.seed

    @lru_cache(maxsize=64)
    def xy(index: int) -> np.ndarray:
        return files.load_frames(index)[:, :, 2].copy()

    def one(pair: tuple[int, int]) -> TwoView | None:
        a, b = pair
        key = fingerprint("verified", _CODE, match_keys[pair], cameras[a], cameras[b], config, seed)
        path = folder / f"{key}.npz"
        known = read_arrays(path)
        if known is not None:
            return _two_view(known)
        found = read_matches(folder, match_keys[pair])
        if found is None:
            raise FileNotFoundError(folder / f"{match_keys[pair]}.npz")
        of_pair, places = (cameras[a], cameras[b]), (xy(a), xy(b))
        view = estimate_two_view(of_pair, places, found.matches, config, seed=seed, tested=found.guided)
        if view is not None and config.guided_error:
            waiting = found.pairs[found.distinct :]
            near = residuals(view, places, waiting) <= config.guided_error * threshold_scale(*of_pair)
            inliers = np.concatenate([view.inliers, waiting[near]])
            view = replace(view, inliers=inliers, raw=view.raw + int(near.sum()))
        _write_two_view(path, view, found.distinct)
        return view

    order = blockwise(list(match_keys))
    views: dict[tuple[int, int], TwoView] = {}
    with progress.stage("Verification", len(order)) as task:
        for pair, view in zip(order, map_items(one, order, workers=cores()), strict=True):
            if view is not None:
                views[pair] = view
            task.advance(note=f"{files.photos[pair[0]].name} – {files.photos[pair[1]].name}")
    return dict(sorted(views.items()))
