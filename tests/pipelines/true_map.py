"""A map of sample_data's courtyard with the exact cameras, and points taken from the exact depth."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.benchmarks.truth import TrueDepth, read_depths
from pipelines.core.maps import Camera, Model
from pipelines.dense.views import View
from recon.benchmark.dense_truth import sampled


@dataclass(frozen=True)
class Truth:
    """What is known of the photos of ``sample_data/sfm``.

    Attributes:
        folder: of the set.
        names: photos.
        cameras: name -> K (3,3) and cam_from_world (3,4).
    """

    folder: Path
    names: tuple[str, ...]
    cameras: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]

    @cached_property
    def photos(self) -> dict[str, Path]:
        """Where each photo stands."""
        return {name: self.folder / "images" / name for name in self.names}

    @cached_property
    def _depths(self) -> dict[str, TrueDepth]:
        return read_depths(self.folder)

    def depth(self, name: str) -> NDArray[np.float64]:
        """(H/4,W/4) metres at every fourth pixel; 0 is sky."""
        return self._depths[name].depth

    def at_truth(self, view: View, depth: NDArray[np.float32]) -> NDArray[np.float64]:
        """(H/4,W/4) a view's depth at the places whose true depth is known, interpolated; 0 where it is unknown."""
        return sampled(depth, view.intrinsics, self.cameras[view.name][0], self._depths[view.name])


def courtyard(sample_data: Path, numbers: range) -> Truth:
    """The truth of some of the twelve photos."""
    record = json.loads((sample_data / "sfm" / "cameras.json").read_text())["photos"]
    names = tuple(f"courtyard_{number:02}.jpg" for number in numbers)
    cameras = {name: (np.array(record[name]["K"]), np.array(record[name]["cam_from_world"])) for name in names}
    return Truth(sample_data / "sfm", names, cameras)


def true_model(truth: Truth, points_a_photo: int = 150) -> Model:
    """Exact cameras; points spread over each photo, seen by all photos that nothing hides them from."""
    rng = np.random.default_rng(0)
    depths = {name: truth.depth(name) for name in truth.names}
    worlds = []
    for name in truth.names:
        k, pose = truth.cameras[name]
        rows, columns = np.nonzero(depths[name])
        chosen = rng.choice(len(rows), points_a_photo, replace=False)
        pixel = np.column_stack([4 * columns[chosen], 4 * rows[chosen], np.ones(points_a_photo)])
        cam = pixel @ np.linalg.inv(k).T * depths[name][rows[chosen], columns[chosen], None]
        worlds.append((cam - pose[:, 3]) @ pose[:, :3])
    xyz = np.concatenate(worlds)
    image, point, xy = [], [], []
    for index, name in enumerate(truth.names):
        k, pose = truth.cameras[name]
        cam = xyz @ pose[:, :3].T + pose[:, 3]
        pixel = (cam @ k.T)[:, :2] / cam[:, 2:]
        place = np.rint(pixel / 4).astype(int)
        inside = (cam[:, 2] > 0) & (place >= 0).all(axis=1) & (place < (256, 192)).all(axis=1)
        seen = np.flatnonzero(inside)
        met = depths[name][place[seen, 1], place[seen, 0]]
        seen = seen[np.abs(met - cam[seen, 2]) < 0.02 * cam[seen, 2]]
        image.append(np.full(len(seen), index))
        point.append(seen)
        xy.append(pixel[seen])
    cameras = [
        Camera("PINHOLE", 1024, 768, (k[0, 0], k[1, 1], k[0, 2], k[1, 2]), "given")
        for k, _ in map(truth.cameras.__getitem__, truth.names)
    ]
    observations = np.concatenate(point).astype(np.int32)
    return Model(
        names=truth.names,
        cameras=tuple(cameras),
        cam_from_world=np.array([truth.cameras[name][1] for name in truth.names]),
        xyz=xyz,
        rgb=np.full((len(xyz), 3), 128, np.uint8),
        errors=np.zeros(len(xyz), np.float32),
        obs_image=np.concatenate(image).astype(np.int32),
        obs_point=observations,
        obs_keypoint=np.zeros(len(observations), np.int32),
        obs_xy=np.concatenate(xy).astype(np.float32),
    )
