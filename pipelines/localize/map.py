"""A finished map as localisation reads it: features, index, and the 3D point behind each keypoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import descriptors
from pipelines import colmap
from pipelines.core.config import from_plain
from pipelines.core.errors import ConfigError, InputError
from pipelines.core.maps import Camera, Model
from pipelines.core.progress import Progress
from pipelines.features.extract import FeatureConfig, FeatureFiles
from pipelines.localize.looks import Looks, read_looks
from pipelines.localize.result import Localisation
from pipelines.matching.matcher import MatchConfig
from pipelines.pairs.map_index import map_index, retrieval_folder
from pipelines.pairs.retrieval import RetrievalIndex
from pipelines.photometric.patches import Patches, kept_patches
from pipelines.store.alignment import ModelAlignment, read_alignment
from pipelines.store.folder import MapFolder, photo_of


@dataclass(frozen=True)
class Component:
    """One model of a map.

    Attributes:
        folder: its place in the map, e.g. ``sparse/0``.
        model: the model.
        point_of: number of a registered photo in the map -> (K,) int32 index of the 3D point that each of its keypoints
            sees, -1 for none; keypoints after the last that sees one are left out.
        cameras: number of a registered photo -> its camera as mapping refined it.
        looks: what its points look like in each photo.
        patches: what is around them, in grey; None if the map's keypoints were not measured by it.
    """

    folder: str
    model: Model
    point_of: Mapping[int, NDArray[np.int32]]
    cameras: Mapping[int, Camera]
    looks: Looks
    patches: Patches | None = None

    @cached_property
    def off_centre(self) -> float:
        """How far principal points lie off the middle, in longer sides: root mean square over both axes of the cameras
        whose photos told them, 0 if none did."""
        off = [
            (camera.K[:2, 2] - ((camera.width - 1) / 2, (camera.height - 1) / 2)) / max(camera.width, camera.height)
            for camera in set(self.cameras.values())
        ]
        told = [one for one in off if one.any()]
        return float(np.sqrt(np.mean(np.square(told)))) if told else 0.0

    def seen_by(self, number: int) -> NDArray[np.int32]:
        """(K,) points that the keypoints of a registered photo see, in the order of ``looks``."""
        points = self.point_of[number]
        return points[points >= 0]


@dataclass(frozen=True)
class LocalMap:
    """What photos are localised in.

    Attributes:
        files: features of all photos of the map, in its order.
        index: their global vectors, in the same order.
        features, matching: the options that the map was made with, which hold for queries too.
        components: models, largest first.
        seed: the map's, which also seeds RANSAC.
        alignments: folder of a model -> what is known of its world, see ``recon map align``.
    """

    folder: MapFolder
    files: FeatureFiles
    index: RetrievalIndex
    features: FeatureConfig
    matching: MatchConfig
    components: tuple[Component, ...]
    seed: int
    alignments: Mapping[str, ModelAlignment] = field(default_factory=dict)

    def registered(self) -> dict[int, Component]:
        """Number of a photo -> the largest model that holds it."""
        return {number: part for part in reversed(self.components) for number in part.point_of}

    def points_seen(self, answer: Localisation) -> NDArray[np.float64]:
        """(P,3) points of the answer's model that the photos it was matched with see; none without a pose."""
        part = next((part for part in self.components if answer.pose and part.folder == answer.pose.component), None)
        if part is None:
            return np.empty((0, 3))
        names = {photo.name for photo in answer.photos if photo.inliers}
        images = [image for image, name in enumerate(part.model.names) if name in names]
        return part.model.xyz[np.unique(part.model.obs_point[np.isin(part.model.obs_image, images)])]


def load_map(root: Path, *, progress: Progress) -> LocalMap:
    """Read a map of ``recon sfm``; makes its retrieval index and its points' descriptors if it has none yet.

    Raises:
        InputError: there is no finished map in the folder, or parts of it are missing.
        ConfigError: its descriptor is not the one that is installed now.
    """
    folder = MapFolder(root)
    ledger = folder.finished_ledger()
    _check_descriptor(root, ledger)
    photos = tuple(photo_of(entry) for entry in ledger["photos"])
    keys = tuple(entry["features"] for entry in ledger["photos"])
    files = FeatureFiles(folder.features, photos, keys, (0,) * len(keys), ())
    features = from_plain(FeatureConfig, ledger["config"]["features"])
    exact = ledger["config"]["mapping"].get("refine_keypoints", False)
    components = tuple(_components(folder, files, features.max_side if exact else 0, progress))
    if not components:
        raise InputError(
            f"The map in {root} has no model", f"nothing can be read from {folder.sparse}", "run `recon sfm` again"
        )
    seed = int(ledger["seed"])
    return LocalMap(
        folder,
        files,
        map_index(folder, files, seed=seed, progress=progress),
        features,
        from_plain(MatchConfig, ledger["config"]["matching"]),
        components,
        seed,
        read_alignment(folder.sparse),
    )


def _check_descriptor(root: Path, ledger: Mapping[str, Any]) -> None:
    name, then = ledger["descriptor"], ledger["descriptor_fingerprint"]
    now = descriptors.fingerprint(name)
    if now != then:
        raise ConfigError(
            f"The map in {root} was made with another {name}",
            f"its weights or code had the fingerprint {then[:12]}, and those installed have {now[:12]}",
            "install the version of recon, or the weights, that the map was made with, or make the map anew",
        )


def _components(folder: MapFolder, files: FeatureFiles, max_side: int, progress: Progress) -> list[Component]:
    """The models of a map; with their patches at a working resolution of ``max_side`` px, or without (0)."""
    numbers = {photo.name: number for number, photo in enumerate(files.photos)}
    found = [
        _component(path, numbers, files, retrieval_folder(folder), max_side, progress)
        for path in colmap.component_folders(folder.sparse)
    ]
    return [part for part in found if part is not None]


def _component(
    path: Path, numbers: Mapping[str, int], files: FeatureFiles, kept: Path, max_side: int, progress: Progress
) -> Component | None:
    """One model; None if none of its photos is the map's."""
    model = colmap.read_model(path)
    point_of: dict[int, NDArray[np.int32]] = {}
    cameras: dict[int, Camera] = {}
    for name, camera, rows in zip(model.names, model.cameras, model.rows_of_images, strict=True):
        keypoints = model.obs_keypoint[rows]
        points = np.full(int(keypoints.max(initial=-1)) + 1, -1, np.int32)
        points[keypoints] = model.obs_point[rows]
        if name in numbers:
            point_of[numbers[name]], cameras[numbers[name]] = points, camera
    if not point_of:
        return None
    looks = read_looks(kept / f"looks-{path.name}", files, point_of, progress=progress)
    patches = None
    if max_side:
        photos = {photo.name: photo for photo in files.photos}
        patches = kept_patches(kept / f"patches-{path.name}", model, photos, max_side, progress=progress)
    return Component(f"sparse/{path.name}", model, point_of, cameras, looks, patches)
