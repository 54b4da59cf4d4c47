"""Matches to two-view geometry, on all cores, kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipelines import colmap
from pipelines.core.errors import ConfigError
from pipelines.core.progress import Progress
from pipelines.core.types import Camera, TwoView
from pipelines.engine import cores, map_items
from pipelines.features.extract import FeatureFiles
from pipelines.geometry.chance import log_false_alarms
from pipelines.geometry.residuals import residuals
from pipelines.matching.match import blockwise, read_matches
from pipelines.store.files import fingerprint, read_arrays, write_arrays

_CODE = 3
_MAX_ERROR = 100.0
_MIN_INLIERS = 8
"""Eight points give a fundamental matrix by themselves."""
_MATRICES = ("essential", "fundamental", "homography", "b_from_a")


@dataclass(frozen=True)
class VerifyConfig:
    """When a pair's matches count as one scene seen twice.

    Attributes:
        max_error: px, of the full-resolution photo at 1,600 px; scaled with the photo's longer side.
        min_inliers: fewer verified matches count as none.
        guided_error: px, likewise; matches that failed the ratio test are taken if they lie this near to the epipolar
            line of a verified pair. 0 takes none.
    """

    max_error: float = 4.0
    min_inliers: int = 15
    guided_error: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.max_error <= _MAX_ERROR:
            what = f"A verification threshold of {self.max_error:g} px is not possible"
            raise ConfigError(what, f"it lies between 0 and {_MAX_ERROR:g}", "--max-error 4")
        if self.min_inliers < _MIN_INLIERS:
            what = f"{self.min_inliers} verified matches are too few to tell a pair from chance"
            raise ConfigError(what, f"{_MIN_INLIERS} at least are needed", "--min-matches 15")


def read_two_view(path: Path) -> TwoView | None:
    """A pair's geometry from its file; None if there is no file, or the pair has no geometry."""
    arrays = read_arrays(path)
    if arrays is None or not len(arrays["inliers"]):
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
    cameras: Sequence[Camera],
    config: VerifyConfig,
    folder: Path,
    *,
    seed: int,
    progress: Progress,
) -> dict[tuple[int, int], TwoView]:
    """Verify every matched pair; what is on disk already is not made again.

    Args:
        files: features of the photos.
        match_keys: pair of photo indices -> key of its matches in ``folder``.
        cameras: intrinsics prior of each photo.
        folder: where matches stand and geometries go.
        seed: RANSAC's seed.

    Returns:
        The pairs that have a geometry, in order.
    """

    @lru_cache(maxsize=64)
    def xy(index: int) -> np.ndarray:
        return files.load_frames(index)[:, :, 2].copy()

    def one(pair: tuple[int, int]) -> TwoView | None:
        a, b = pair
        key = fingerprint("verified", _CODE, match_keys[pair], cameras[a], cameras[b], config, seed)
        path = folder / f"{key}.npz"
        if read_arrays(path) is not None:
            return read_two_view(path)
        found = read_matches(folder, match_keys[pair])
        if found is None:
            raise FileNotFoundError(folder / f"{match_keys[pair]}.npz")
        side = max(cameras[a].width, cameras[a].height, cameras[b].width, cameras[b].height)
        scale = max(1.0, side / 1600)
        view = colmap.verify_pair(
            (cameras[a], cameras[b]),
            (xy(a), xy(b)),
            found.matches,
            max_error=config.max_error * scale,
            min_inliers=config.min_inliers,
            seed=seed,
        )
        if view is not None and log_false_alarms(view, (cameras[a], cameras[b]), (xy(a), xy(b)), found.matches) > 0:
            view = None
        if view is not None and config.guided_error:
            waiting = found.pairs[found.distinct :]
            near = residuals(view, (xy(a), xy(b)), waiting) <= config.guided_error * scale
            view = replace(view, inliers=np.concatenate([view.inliers, waiting[near]]))
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
