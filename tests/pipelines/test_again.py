"""The second matching of a map, along its lines: a made scene, two thirds of whose points have a twin in looks."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pycolmap
import pytest

from pipelines import colmap
from pipelines.core.maps import Camera, TwoView
from pipelines.core.progress import Silent
from pipelines.core.types import Features
from pipelines.features.extract import FeatureConfig
from pipelines.geometry.similarity import camera_alignment, centres_of
from pipelines.sfm.again import match_again
from pipelines.sfm.config import MappingConfig, SfmConfig
from pipelines.sfm.mapping import MappingInput, mapping_job
from pipelines.sfm.why import MatchGraph
from pipelines.store.folder import MapFolder

PHOTOS, POINTS, TWINS = 5, 600, 400
"""The last points are twins: each has the descriptor of another one."""
PAIRS = list(combinations(range(PHOTOS), 2))


def turned(angle: float) -> np.ndarray:
    """cam_from_world of a camera that stands on a circle and looks at its middle."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, -s, 0], [0, 1, 0, 0], [s, 0, c, 6]])


class Scene:
    """Photos through lenses with distortion, of focal lengths that nobody tells."""

    def __init__(self, folder: Path, source: str = "guess", twins: int = TWINS) -> None:
        rng = np.random.default_rng(0)
        xyz = rng.uniform(-1.5, 1.5, (POINTS, 3))
        self.poses = np.array([turned(angle) for angle in np.linspace(-0.5, 0.5, PHOTOS)])
        looks = rng.normal(size=(POINTS, 128))
        looks[POINTS - twins // 2 :] = looks[POINTS - twins : POINTS - twins // 2]
        self.features, told = [], []
        for number, pose in enumerate(self.poses):
            size, focal = 1000 + 2 * number, 1100.0 + 60 * number
            camera = Camera("SIMPLE_RADIAL", size, size, (focal, (size - 1) / 2, (size - 1) / 2, 0.15), "given")
            seen = xyz @ pose[:, :3].T + pose[:, 3]
            frames = np.tile(np.float32([[5, 0, 0], [0, 5, 0]]), (POINTS, 1, 1))
            frames[:, :, 2] = colmap.pixels_of_rays(camera, seen[:, :2] / seen[:, 2:])
            frames[:, :, 2] += rng.normal(0, 0.3, (POINTS, 2))
            rows = (looks + rng.normal(0, 0.3, looks.shape)).astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            self.features.append(Features(frames, np.ones(POINTS, np.float32), rows))
            told.append(Camera("SIMPLE_RADIAL", size, size, (1.2 * size, *camera.params[1:3], 0.0), source))
        matched = np.repeat(np.arange(POINTS - twins, dtype=np.int32)[:, None], 2, axis=1)
        views = {pair: TwoView(len(matched), matched, "UNCALIBRATED") for pair in PAIRS}
        names = tuple(f"{number}.jpg" for number in range(PHOTOS))
        files: Any = SimpleNamespace(load=self.features.__getitem__)
        graph = MatchGraph(names, (POINTS,) * PHOTOS, dict.fromkeys(PAIRS, len(matched)), views)
        self.given = MappingInput(files, graph, {}, tuple(told), tuple(range(PHOTOS)))
        self.folder = MapFolder(folder)
        self.folder.create()
        keypoints = [np.c_[one.frames[:, :, 2], one.frames[:, :, :2].reshape(-1, 4)] for one in self.features]
        colmap.write_database(
            self.folder.next_database, names, told, range(PHOTOS), keypoints,
            ((pair, view.inliers, view) for pair, view in views.items()),
        )  # fmt: skip
        self.models = colmap.incremental_mapping(mapping_job(self.folder, self.given, MappingConfig(), seed=0))

    def again(self, descriptor: str = "rootsift") -> colmap.Reconstruction:
        config = SfmConfig(FeatureConfig(descriptor))
        (model,) = match_again(self.folder, self.given, self.models, config, progress=Silent())
        return model

    def off(self, model: colmap.Reconstruction) -> float:
        """Mean distance of the cameras from where they truly stand."""
        scale, rotation, shift = camera_alignment(colmap.poses(model), self.poses)
        apart = scale * centres_of(colmap.poses(model)) @ rotation.T + shift - centres_of(self.poses)
        return float(np.linalg.norm(apart, axis=1).mean())


def test_points_with_twins_are_found_along_the_lines(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    (model,) = scene.models
    before, off = colmap.to_model(model), scene.off(model)
    assert len(before.names) == PHOTOS and len(before.xyz) <= POINTS - TWINS
    found = colmap.to_model(scene.again())
    assert len(found.xyz) > 0.9 * POINTS and scene.off(model) < 0.6 * off
    # Keypoint k of each photo shows point k.
    first = found.obs_keypoint[np.unique(found.obs_point, return_index=True)[1]]
    assert np.mean(found.obs_keypoint == first[found.obs_point]) > 0.99
    # What is made of the database afterwards has them, too.
    with closing(pycolmap.Database.open(scene.folder.next_database)) as database:
        assert database.num_inlier_matches() > 0.9 * POINTS * len(PAIRS)


@pytest.mark.parametrize(
    ("source", "twins", "descriptor"),
    [("exif", TWINS, "rootsift"), ("guess", 40, "rootsift"), ("guess", TWINS, "gloss-snet")],
    ids=["focal lengths are told", "hardly any are new", "a metric network compares patches"],
)
def test_other_maps_stay_as_they_are(source: str, twins: int, descriptor: str, tmp_path: Path) -> None:
    scene = Scene(tmp_path, source, twins)
    before = colmap.to_model(scene.models[0])
    after = colmap.to_model(scene.again(descriptor))
    assert (after.cam_from_world == before.cam_from_world).all() and len(after.obs_point) == len(before.obs_point)


def test_photos_of_one_camera_are_not_matched_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.given = replace(scene.given, cameras=scene.given.cameras[:1], camera_of=(0,) * PHOTOS)
    assert len(scene.again().points3D) <= POINTS - TWINS
